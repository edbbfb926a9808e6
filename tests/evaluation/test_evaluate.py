"""What `evaluate` says of an autoencoder: points from a table, and a decoder without words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jvae.data.encoding import Split
from jvae.distributions import Delta
from jvae.evaluation.corpus import prior_samples
from jvae.evaluation.evaluate import EvaluationSettings, evaluate
from jvae.evaluation.programs import SplitBatches, make_programs
from jvae.random import Stream, stream
from tests.conftest import make_sentences
from tests.evaluation.setting import table_model

KEY, N, L = jax.random.key(3), 150, 4
MODEL = table_model(
    lambda table, index: Delta(table[index]), lambda z: -jnp.sum(jnp.square(z), axis=-1), L
)


@pytest.fixture(scope="module")
def results_of():
    programs = make_programs(MODEL)
    split = SplitBatches(Split(*make_sentences(N, 5)), (5,), N)

    def results(points: np.ndarray) -> dict:
        params = {"encoder": jnp.float32(points), "decoder": {}, "prior": {}}
        return evaluate(programs, params, split, key=KEY, settings=EvaluationSettings())[0]

    return results


def test_points_like_the_prior_have_no_mmd_and_others_do(results_of):
    points = np.random.default_rng(0).normal(size=(N, L))
    alike = results_of(points)["mmd"]
    assert abs(alike["value"]) < 3 * alike["standard_error"]
    for other in (points + 1, 0.3 * points, np.abs(points)):
        found = results_of(other)["mmd"]
        assert found["value"] > 5 * found["standard_error"] > 0


def test_the_mmd_is_of_the_sentences_own_z_and_draws_of_the_prior(results_of):
    params = {"encoder": {}, "decoder": {}, "prior": {}}
    draws = prior_samples(MODEL, params, np.arange(N), key=stream(KEY, Stream.EVALUATION))
    z = np.random.default_rng(1).normal(size=(N, L)) - 0.5

    def similarity(x, y):
        squared = np.sum((x[:, None] - y) ** 2, axis=-1)
        return np.where(np.eye(N, dtype=bool), 0, 2 * L / (2 * L + squared)).sum()

    pairs = similarity(z, z) + similarity(draws, draws) - 2 * similarity(z, draws)
    assert results_of(z)["mmd"]["value"] == pytest.approx(pairs / (N * (N - 1)), rel=1e-4)
