"""Posterior families against SciPy, and their samples against their densities."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import ive

from jvae.distributions import DiagonalGaussian, closed_form_kl, kl_divergence
from jvae.posteriors import full, vmf
from jvae.posteriors.vmf import (
    UniformSphere,
    VonMisesFisher,
    log_area,
    log_bessel,
    log_normaliser,
    mean_length,
)

FULL = full()
RNG = np.random.default_rng(0)
OUTPUTS = jnp.asarray(RNG.normal(size=(2, FULL.size(3))), jnp.float32)
Q = FULL.posterior(OUTPUTS)
COVARIANCE = np.einsum("bij,bkj->bik", *[np.asarray(Q.factor, np.float64)] * 2)
P = DiagonalGaussian(jnp.asarray([[0.3, -1.0, 0.0]]), jnp.asarray([[0.5, -0.5, 0.0]]))


def draws(q, number: int, rows: int) -> np.ndarray:
    keys = jax.random.split(jax.random.key(1), (number, rows))
    return np.asarray(jax.jit(jax.vmap(q.sample))(keys), np.float64)


def test_the_full_gaussian_has_the_density_of_scipy():
    assert FULL.size(3) == 9 and Q.mean.shape == (2, 3)
    z = RNG.normal(size=(4, 2, 3)).astype(np.float32)
    for b in range(2):
        assert np.all(np.triu(Q.factor[b], 1) == 0) and np.any(np.tril(Q.factor[b], -1) != 0)
        expected = stats.multivariate_normal(Q.mean[b], COVARIANCE[b]).logpdf(z[:, b])
        np.testing.assert_allclose(Q.log_prob(jnp.asarray(z))[:, b], expected, rtol=1e-4)
        np.testing.assert_allclose(np.exp(Q.log_var[b]), np.diag(COVARIANCE[b]), rtol=1e-5)


def test_the_full_gaussian_draws_its_mean_and_covariance():
    z = draws(Q, 10_000, 2)
    for b in range(2):
        error = np.sqrt(np.diag(COVARIANCE[b]) / len(z))
        assert np.all(np.abs(z[:, b].mean(axis=0) - Q.mean[b]) < 4 * error)
        whitened = np.linalg.solve(np.asarray(Q.factor[b], np.float64), (z[:, b] - Q.mean[b]).T)
        assert np.abs(np.cov(whitened) - np.eye(3)).max() < 6 / np.sqrt(len(z))


def test_the_full_gaussians_kl_is_the_textbook_s_and_that_of_diagonals():
    kl, analytic = kl_divergence(Q, P, None)
    assert analytic and kl.shape == (2,)
    precision = np.diag(1 / np.exp(np.asarray(P.log_var[0], np.float64)))
    for b in range(2):
        away = np.asarray(Q.mean[b] - P.mean[0], np.float64)
        determinants = np.linalg.slogdet(precision)[1] + np.linalg.slogdet(COVARIANCE[b])[1]
        trace = np.trace(precision @ COVARIANCE[b])
        expected = 0.5 * (trace + away @ precision @ away - 3 - determinants)
        np.testing.assert_allclose(kl[b], expected, rtol=1e-5)
    # Without entries below the diagonal it is the diagonal family.
    flat = FULL.posterior(OUTPUTS.at[:, 6:].set(0))
    diagonal = DiagonalGaussian(OUTPUTS[:, :3], OUTPUTS[:, 3:6])
    expected = jnp.sum(closed_form_kl(diagonal, P), axis=1)
    np.testing.assert_allclose(kl_divergence(flat, P, None)[0], expected, rtol=1e-5)
    np.testing.assert_allclose(flat.log_var, diagonal.log_var, rtol=1e-5, atol=1e-6)


# Von Mises-Fisher.

SIZE, KAPPA = 5, 4.0
DIRECTION = jnp.asarray(RNG.normal(size=(2, SIZE)), jnp.float32)
SPHERICAL = vmf(kappa=KAPPA).posterior(DIRECTION)
UNIFORM = UniformSphere(jnp.zeros((1, SIZE)))


@pytest.mark.parametrize(("order", "x"), [(0.0, 0.5), (1.5, 4.0), (15.0, 13.0), (24.0, 80.0)])
def test_the_bessel_function_is_that_of_scipy(order, x):
    np.testing.assert_allclose(log_bessel(order, x), np.log(ive(order, x)) + x, rtol=1e-10)


def test_on_the_usual_sphere_all_is_elementary():
    np.testing.assert_allclose(log_area(3), math.log(4 * math.pi))
    expected = math.log(KAPPA / (4 * math.pi * math.sinh(KAPPA)))
    np.testing.assert_allclose(log_normaliser(3, KAPPA), expected)
    np.testing.assert_allclose(mean_length(3, KAPPA), 1 / math.tanh(KAPPA) - 1 / KAPPA)


def test_the_kl_is_a_constant_and_the_mean_of_the_log_ratio():
    kl, analytic = kl_divergence(SPHERICAL, UNIFORM, None)
    assert analytic and kl.shape == (2,) and kl[0] == kl[1]
    z = draws(SPHERICAL, 10_000, 2)
    ratios = np.asarray(SPHERICAL.log_prob(jnp.asarray(z)) - UNIFORM.log_prob(jnp.asarray(z)))
    error = ratios.std(axis=0) / np.sqrt(len(z))
    assert np.all(np.abs(ratios.mean(axis=0) - kl) < 4 * error)
    # By quadrature over the height w = direction' z, for the sizes of Zhu et al. (2020).
    w = np.linspace(-1, 1, 20_001)
    log_uniform = 14.5 * np.log(np.maximum(1 - w**2, 1e-300))
    uniform = np.exp(log_uniform) / np.exp(log_uniform).sum()
    tilted = uniform * np.exp(13 * w)
    expected = 13 * (tilted @ w) / tilted.sum() - np.log(tilted.sum())
    theirs = VonMisesFisher(jnp.eye(1, 32), 13.0), UniformSphere(jnp.zeros((1, 32)))
    np.testing.assert_allclose(kl_divergence(*theirs, None)[0], expected, rtol=1e-4)


def test_directions_are_drawn_from_the_density():
    np.testing.assert_allclose(jnp.linalg.norm(SPHERICAL.direction, axis=1), 1, rtol=1e-6)
    z = draws(SPHERICAL, 10_000, 2)
    np.testing.assert_allclose(np.linalg.norm(z, axis=-1), 1, rtol=1e-5)
    # The height's distribution function, by quadrature.
    grid = np.linspace(-1, 1, 20_001)
    density = (1 - grid**2) ** ((SIZE - 3) / 2) * np.exp(KAPPA * grid)
    cdf = np.cumsum(density) / density.sum()
    direction = np.asarray(SPHERICAL.direction, np.float64)
    for b in range(2):
        height = z[:, b] @ direction[b]
        distance = stats.kstest(height, lambda w: np.interp(w, grid, cdf)).statistic
        assert distance < 1.95 / np.sqrt(len(z))
        error = z[:, b].std(axis=0) / np.sqrt(len(z))
        assert np.all(np.abs(z[:, b].mean(axis=0) - SPHERICAL.mean[b]) < 4 * error)
    np.testing.assert_allclose(z.var(axis=0), np.exp(SPHERICAL.log_var), rtol=0.08)


def test_the_gradient_turns_the_draw_with_the_direction():
    """Against finite differences, through the normalisation of the last layer's outputs."""
    keys = jax.random.split(jax.random.key(2), 2)
    weights = jnp.asarray(RNG.normal(size=(2, SIZE)), jnp.float32)

    @jax.jit
    def total(outputs):
        return jnp.sum(weights * vmf(kappa=KAPPA).posterior(outputs).sample(keys))

    step = jnp.zeros_like(DIRECTION).at[1, 2].set(1e-2)
    slope = (total(DIRECTION + step) - total(DIRECTION - step)) / 2e-2
    np.testing.assert_allclose(jax.grad(total)(DIRECTION)[1, 2], slope, rtol=2e-2)
    assert np.all(np.isfinite(jax.grad(total)(jnp.zeros_like(DIRECTION))))


def test_the_uniform_sphere():
    z = draws(UNIFORM, 10_000, 1)[:, 0]
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(z.mean(axis=0), np.zeros(SIZE), atol=4 / np.sqrt(SIZE * len(z)))
    np.testing.assert_allclose(z.var(axis=0), np.exp(UNIFORM.log_var[0]), rtol=0.06)
    np.testing.assert_allclose(UNIFORM.log_prob(jnp.asarray(z[:2])), -log_area(SIZE))
