"""How many importance samples are enough: the stated change against exact likelihoods."""

import math

import jax
import numpy as np
import pytest

from jvae.evaluation.diagnostics import iw_nll
from jvae.evaluation.samples import block_size, draw_until, remaining_change
from tests.test_linear_gaussian import (
    CORRELATED,
    COUNT,
    ORTHOGONAL,
    bounds,
    log_evidence,
    make_params,
    posterior,
    wrong,
)

REPEATS, AT_HAND, SENTENCES = 3000, 32, 100


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    """Independent repeats of 128 log weights of 25 times four sentences, `[R, K, N]`."""
    params = make_params(wrong(CORRELATED), CORRELATED)
    keys = jax.random.split(jax.random.key(5), REPEATS)
    drawn = np.asarray(bounds(params, keys)[1], np.float64)
    return drawn.reshape(-1, SENTENCES // 4, COUNT, 4).swapaxes(1, 2).reshape(-1, COUNT, SENTENCES)


@pytest.mark.parametrize("total", [COUNT, math.inf])
def test_the_stated_change_covers_the_true_one(weights, total):
    """The change to 128 samples, and to the exact -log p(x)."""
    changes = [remaining_change(repeat[:AT_HAND], total) for repeat in weights]
    stated, errors = np.array(changes).T
    here = np.array([iw_nll(repeat[:AT_HAND]).mean() for repeat in weights])
    if math.isinf(total):
        there = np.full(len(weights), -log_evidence(CORRELATED).mean())
    else:
        there = np.array([iw_nll(repeat).mean() for repeat in weights])
    missed = (here - there) - stated
    assert np.mean(np.abs(missed) < 2 * errors) > 0.9
    # Right in the mean, where the change is well above the noise of the repeats ..
    assert np.mean(stated) == pytest.approx(np.mean(here - there), rel=0.2)
    assert np.mean(here - there) > 5 * np.std(missed) / math.sqrt(len(weights))
    # .. and the errors are not so wide that they would cover anything.
    assert np.mean(errors) < 3 * np.std(missed)


def test_the_exact_posterior_needs_no_more_samples():
    params = make_params(posterior(ORTHOGONAL), ORTHOGONAL)
    log_weights = np.asarray(bounds(params, jax.random.split(jax.random.key(1), 1))[1][0])
    change = remaining_change(log_weights[:100], 500)
    assert abs(change.nll) < 1e-6 and change.error < 1e-4


def drawer(log_weights: np.ndarray, size: int):
    """Blocks of given weights, the last one filled up, and where each began."""
    firsts = []

    def draw(first: int) -> np.ndarray:
        firsts.append(first)
        return np.resize(log_weights[first : first + size], (size, log_weights.shape[1]))

    return draw, firsts


@pytest.mark.parametrize(
    ("spread", "tolerance", "expected"),
    [(3.0, 0.0, 520), (3.0, 0.01, 520), (0.7, 0.05, 100), (0.7, 0.01, 200), (0.0, 1e-9, 100)],
)
def test_samples_are_drawn_until_the_rest_would_change_too_little(spread, tolerance, expected):
    log_weights = np.random.default_rng(0).normal(size=(520, 100)) * spread
    size = block_size(520, tolerance)
    draw, firsts = drawer(log_weights, size)
    drawn = draw_until(draw, 520, tolerance)
    np.testing.assert_array_equal(drawn, log_weights[:expected])
    assert firsts == list(range(0, expected, size))
    if 0 < len(drawn) < 520:
        change = remaining_change(drawn, 520)
        assert change.nll + 2 * change.error < tolerance
        truth = (iw_nll(drawn) - iw_nll(log_weights)).mean()
        assert abs(truth - change.nll) < 2 * change.error + 1e-9


def test_one_sentence_has_no_error_bars_and_gets_all_samples():
    log_weights = np.random.default_rng(0).normal(size=(200, 1)) * 1e-3
    draw, _ = drawer(log_weights, 100)
    assert len(draw_until(draw, 200, 1.0)) == 200
