"""A vocabulary small enough to list every string: the decoder is a distribution over strings."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

import jvae
from jvae.batch import BOS, EOS, Batch
from tests.conftest import make_model

VOCAB, LATENT, LONGEST = 6, 1, 4
WORDS = [token for token in range(VOCAB) if token != EOS]  # <pad>, <s> and <unk> have mass too
MODEL = make_model(VOCAB, LATENT, dropout_in=0.0, dropout_out=0.0)
LATENTS = jnp.asarray([[-1.5], [0.0], [2.0]])


def every_string() -> tuple[Batch, np.ndarray]:
    """All strings of up to 3 words and `</s>`, then all prefixes of 4 words that have not ended.

    Returns:
      The batch, and which rows have ended.
    """
    rows, lengths, ended = [], [], []
    for words in range(LONGEST):
        for string in itertools.product(WORDS, repeat=words):
            rows.append([BOS, *string, EOS] + [0] * (LONGEST - 1 - words))
            lengths.append(words + 1)
            ended.append(True)
    for string in itertools.product(WORDS, repeat=LONGEST):
        rows.append([BOS, *string])
        lengths.append(LONGEST)
        ended.append(False)
    # <pad> is a word here, so that the lengths must be given.
    return jvae.text_batch(rows, lengths), np.asarray(ended)


STRINGS, ENDED = every_string()


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(2)
    shapes = jax.eval_shape(lambda key: jvae.init(MODEL, STRINGS, key=key), jax.random.key(0))
    return jax.tree.map(lambda s: jnp.asarray(rng.uniform(-0.8, 0.8, s.shape), s.dtype), shapes)


@pytest.fixture(scope="module")
def log_probs(params):
    """By path (`train`): function of lengths -> `[Z, rows]`."""

    def compile_path(train: bool):
        @jax.jit
        def for_lengths(lengths):
            def for_z(z):
                rows = jnp.broadcast_to(z, (len(ENDED), LATENT))
                batch = STRINGS.replace(x=jvae.Tokens(STRINGS.x.ids, lengths))
                return MODEL.decoder.log_prob(
                    params["decoder"], rows, batch, key=jax.random.key(0), train=train
                )

            return jax.vmap(for_z)(LATENTS)

        return lambda lengths: np.asarray(for_lengths(lengths), np.float64)

    return {train: compile_path(train) for train in (False, True)}


@pytest.fixture(scope="module")
def by_token(params):
    """`[Z, rows, T]`: the log-probability of each token, from `start` and `step`."""
    step = jax.jit(MODEL.decoder.steps.step)
    result = []
    for z in LATENTS:
        rows = jnp.broadcast_to(z, (len(ENDED), LATENT))
        carry, steps = MODEL.decoder.steps.start(params["decoder"], rows, None, LONGEST), []
        for position in range(LONGEST):
            carry, logits = step(params["decoder"], carry, STRINGS.x.ids[:, position])
            assert logits.shape == (len(ENDED), VOCAB)
            normalised = log_softmax(np.asarray(logits, np.float64), axis=-1)
            target = np.asarray(STRINGS.x.ids[:, position + 1])
            steps.append(normalised[np.arange(len(target)), target])
        result.append(np.stack(steps, axis=-1))
    return np.stack(result)


@pytest.mark.parametrize("train", [False, True])
def test_all_strings_and_the_remainder_have_probability_one(log_probs, by_token, train):
    log_prob = log_probs[train](STRINGS.x.lengths)
    ended = np.exp(log_prob[:, ENDED]).sum(axis=1)
    remainder = np.exp(by_token[:, ~ENDED].sum(axis=2)).sum(axis=1)
    np.testing.assert_allclose(ended + remainder, 1.0, atol=1e-5)
    np.testing.assert_allclose(np.exp(log_prob).sum(axis=1), 1.0, atol=1e-5)
    # Both parts matter, and z changes them.
    assert np.all(ended > 0.05)
    assert np.all(remainder > 0.05)
    assert np.ptp(ended) > 0.01


@pytest.mark.parametrize("train", [False, True])
def test_step_agrees_with_log_prob_token_by_token(log_probs, by_token, train):
    before = np.zeros_like(by_token[..., 0])
    for count in range(1, LONGEST + 1):
        log_prob = log_probs[train](jnp.full(len(ENDED), count, jnp.int32))
        np.testing.assert_allclose(log_prob - before, by_token[..., count - 1], atol=1e-5)
        before = log_prob


def test_the_marginal_is_that_of_quadrature(params):
    """`log p(x)` of an LSTM VAE with one latent dimension, integrated on a grid."""
    rows = jnp.asarray([0, 3, 17, 60, 155])
    batch = jax.tree.map(lambda field: field[rows], STRINGS)
    grid = jnp.linspace(-8.0, 8.0, 321)
    log_prob = jax.jit(
        jax.vmap(
            lambda z: MODEL.decoder.log_prob(
                params["decoder"], jnp.full((len(rows), 1), z), batch, key=None, train=False
            )
        )
    )(grid)
    density = -0.5 * np.square(grid) - 0.5 * np.log(2 * np.pi)
    width = float(grid[1] - grid[0])
    exact = logsumexp(np.asarray(log_prob, np.float64) + density[:, None], axis=0) + np.log(width)

    samples = 4000
    bound, log_weights = jax.jit(
        lambda key: jvae.iw_log_likelihood(
            MODEL, params, batch, key=key, num_samples=samples, chunk_size=samples
        )
    )(jax.random.key(1))
    ratios = np.exp(np.asarray(log_weights, np.float64) - exact)
    standard_error = ratios.std(axis=0, ddof=1) / np.sqrt(samples)
    assert np.all(standard_error < 0.05)
    assert np.all(np.abs(np.asarray(bound) - exact) < 4 * standard_error + 1e-4)
