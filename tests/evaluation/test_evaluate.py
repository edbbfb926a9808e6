"""Results of `evaluate` on models whose posteriors stand in a table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jvae import standard_normal
from jvae.distributions import Delta
from jvae.evaluation.corpus import prior_samples
from jvae.evaluation.functions import make_functions
from jvae.random import Stream, stream
from tests.evaluation.setting import evidence_of, points, results_of, sentences, table_model

KEY, N, L = jax.random.key(3), 150, 4
MODEL = table_model(
    lambda table, index: Delta(table[index]),
    lambda z: -jnp.sum(jnp.square(z), axis=-1),
    standard_normal(latent_size=L),
)


@pytest.fixture(scope="module")
def results():
    functions, split = make_functions(MODEL), sentences(N, batch_size=N)
    return lambda table: results_of(evidence_of(functions, table, split, KEY))


def test_points_like_the_prior_have_no_mmd_and_others_do(results):
    table = points(N, L)
    alike = results(table)["mmd"]
    assert abs(alike["value"]) < 3 * alike["standard_error"]
    for other in (table + 1, 0.3 * table, np.abs(table)):
        found = results(other)["mmd"]
        assert found["value"] > 5 * found["standard_error"] > 0


def test_the_mmd_is_of_the_examples_own_z_and_draws_of_the_prior(results):
    params = {"encoder": {}, "decoder": {}, "prior": {}}
    draws = prior_samples(MODEL, params, np.arange(N), key=stream(KEY, Stream.EVALUATION))
    z = points(N, L, seed=1) - 0.5

    def similarity(x, y):
        squared = np.sum((x[:, None] - y) ** 2, axis=-1)
        return np.where(np.eye(N, dtype=bool), 0, 2 * L / (2 * L + squared)).sum()

    pairs = similarity(z, z) + similarity(draws, draws) - 2 * similarity(z, draws)
    assert results(z)["mmd"]["value"] == pytest.approx(pairs / (N * (N - 1)), rel=1e-4)


def test_a_point_mass_has_reconstructions_alone(results):
    found = results(points(N, L))
    assert found.keys() == {
        *("examples", "symbols", "rec", "rec_se", "shuffled_rec", "latent_size"),
        *("au", "mean_variance_per_dim", "mmd"),
    }
    # Of others' points the sum of squares is the same.
    assert found["shuffled_rec"] == pytest.approx(found["rec"], rel=1e-5)
