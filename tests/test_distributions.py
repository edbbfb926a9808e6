"""Posterior families against SciPy, and their samples against their densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jvae.distributions import ANALYTIC_KL, Delta, DiagonalGaussian
from jvae.random import example_keys
from tests.conftest import make_batch

MEAN = np.array([[0.5, -1.0, 2.0], [0.0, 3.0, -0.5]], np.float32)
LOG_VAR = np.array([[0.0, -2.0, 1.0], [0.5, -1.0, 2.0]], np.float32)
Q = DiagonalGaussian(jnp.asarray(MEAN), jnp.asarray(LOG_VAR))
KEYS = example_keys(jax.random.key(0), jnp.arange(2))


def test_the_density_is_that_of_scipy_and_broadcasts_over_samples():
    z = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    expected = stats.norm(MEAN, np.exp(LOG_VAR / 2)).logpdf(z).sum(axis=-1)
    np.testing.assert_allclose(Q.log_prob(z), expected, rtol=1e-5)
    np.testing.assert_allclose(Q.log_prob(z[1]), expected[1], rtol=1e-5)
    row = jax.tree.map(lambda field: field[:1], Q)
    np.testing.assert_allclose(
        row.log_prob(z[0]),
        stats.norm(MEAN[:1], np.exp(LOG_VAR[:1] / 2)).logpdf(z[0]).sum(-1),
        rtol=1e-5,
    )


def test_samples_have_the_density():
    number = 20_000

    @jax.jit
    def draw(keys):
        return jax.vmap(Q.sample)(keys)

    z = np.asarray(draw(jax.random.split(jax.random.key(1), (number, 2))), np.float64)
    standard = (z - MEAN) / np.exp(LOG_VAR / 2)
    for row in range(2):
        for dimension in range(3):
            # 1.95 / sqrt(n) has p about 0.001 under Kolmogorov-Smirnov; fixed seeds.
            distance = stats.kstest(standard[:, row, dimension], "norm").statistic
            assert distance < 1.95 / np.sqrt(number)
    flat = standard.reshape(number, -1)
    correlation = np.corrcoef(flat.T) - np.eye(6)
    assert np.abs(correlation).max() < 4 / np.sqrt(number)


def test_a_row_is_drawn_from_its_own_key():
    z = Q.sample(KEYS)
    swapped = jax.tree.map(lambda field: field[::-1], Q).sample(KEYS[::-1])
    np.testing.assert_array_equal(swapped, z[::-1])
    np.testing.assert_allclose(jax.jit(lambda k: Q.sample(k))(KEYS), z, rtol=1e-5)


def test_samples_are_reparameterised():
    """`dz / dmean = 1` and `dz / dlog_var = (z - mean) / 2`."""

    def total(q):
        return jnp.sum(q.sample(KEYS))

    grads = jax.jit(jax.grad(total))(Q)
    np.testing.assert_array_equal(grads.mean, np.ones((2, 3)))
    np.testing.assert_allclose(grads.log_var, (Q.sample(KEYS) - MEAN) / 2, rtol=1e-4, atol=1e-6)


def test_a_point_mass_is_its_mean_and_passes_through_transformations():
    q = Delta(jnp.asarray(MEAN))
    np.testing.assert_array_equal(jax.jit(lambda q: q.sample(KEYS))(q), MEAN)
    assert np.all(np.asarray(jnp.exp(q.log_var)) == 0)
    with pytest.raises(TypeError, match="no KL, no ELBO and no importance weights"):
        q.log_prob(MEAN)


def test_closed_forms_are_zero_between_equals_and_positive_otherwise():
    closed_form = ANALYTIC_KL[DiagonalGaussian, DiagonalGaussian]
    np.testing.assert_array_equal(closed_form(Q, Q), np.zeros((2, 3)))
    other = DiagonalGaussian(Q.mean + 0.1, Q.log_var)
    # (0.1)^2 / (2 var)
    np.testing.assert_allclose(closed_form(Q, other), 0.005 / np.exp(LOG_VAR), rtol=1e-4)
    assert np.all(np.asarray(closed_form(Q, DiagonalGaussian(Q.mean, Q.log_var - 0.3))) > 0)


def test_vmap_over_samples_keeps_shapes():
    keys = jax.vmap(lambda k: example_keys(k, make_batch(2, 3).index))(
        jax.random.split(jax.random.key(2), 5)
    )
    z = jax.vmap(Q.sample)(keys)
    assert z.shape == (5, 2, 3)
    assert jax.vmap(Q.log_prob)(z).shape == (5, 2)
