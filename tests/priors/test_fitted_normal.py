"""The Gaussian of all posteriors against SciPy and enumeration of its moments."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from jvae.distributions import DiagonalGaussian, closed_form_kl
from jvae.priors import fitted_normal, standard_normal
from jvae.priors.fitted_normal import CorrelatedGaussian

RNG = np.random.default_rng(0)
L = 3
FACTOR = np.array([[1.2, 0, 0], [-0.7, 0.5, 0], [0.4, 0.9, 2.0]])
COVARIANCE = FACTOR @ FACTOR.T
MEAN = np.array([0.3, -1.0, 2.0])
P = CorrelatedGaussian(jnp.asarray(MEAN, jnp.float32), jnp.asarray(FACTOR, jnp.float32))
MEANS, LOG_VARS = RNG.normal(size=(50, L)), RNG.normal(size=(50, L))
Q = DiagonalGaussian(jnp.asarray(MEANS, jnp.float32), jnp.asarray(LOG_VARS, jnp.float32))


def kl(mean: np.ndarray, log_var: np.ndarray, m: np.ndarray, s: np.ndarray) -> float:
    """KL of one diagonal Gaussian to a full one, the textbook's formula."""
    inverse, difference = np.linalg.inv(s), mean - m
    trace, quadratic = np.trace(inverse * np.exp(log_var)), difference @ inverse @ difference
    return 0.5 * (trace + quadratic - len(m) + np.linalg.slogdet(s)[1] - log_var.sum())


def test_the_density_is_that_of_scipy():
    z = 2 * RNG.normal(size=(4, 5, L))
    expected = stats.multivariate_normal(MEAN, COVARIANCE).logpdf(z)
    np.testing.assert_allclose(P.log_prob(jnp.asarray(z, jnp.float32)), expected, rtol=1e-4)


def test_samples_have_mean_and_covariance():
    number = 40_000
    z = np.asarray(P.sample(jax.random.split(jax.random.key(0), number)), np.float64)
    error = np.sqrt(np.diag(COVARIANCE) / number)
    assert np.all(np.abs(z.mean(axis=0) - MEAN) < 4 * error)
    spread = np.diag(COVARIANCE)
    errors = np.sqrt((np.outer(spread, spread) + COVARIANCE**2) / number)  # Isserlis
    assert np.all(np.abs(np.cov(z.T) - COVARIANCE) < 4 * errors)


def test_the_kl_is_the_closed_form_and_no_part_is_negative():
    parts = closed_form_kl(Q, P)
    assert parts.shape == (50, L) and np.all(parts >= 0)
    expected = [kl(m, v, MEAN, COVARIANCE) for m, v in zip(MEANS, LOG_VARS, strict=True)]
    np.testing.assert_allclose(parts.sum(axis=1), expected, rtol=1e-4)
    # The first dimension comes first in the chain rule: its part is that of the marginals.
    first = [
        kl(m[:1], v[:1], MEAN[:1], COVARIANCE[:1, :1]) for m, v in zip(MEANS, LOG_VARS, strict=True)
    ]
    np.testing.assert_allclose(parts[:, 0], first, rtol=1e-4)


def test_training_has_the_standard_normal_and_does_not_move_it():
    prior = fitted_normal(latent_size=L)
    params = {"prior": prior.init(jax.random.key(0))}
    p = prior.apply(params)
    expected = closed_form_kl(Q, standard_normal(latent_size=L).apply({}))
    np.testing.assert_allclose(closed_form_kl(Q, p), expected, rtol=1e-4, atol=1e-6)
    gradient = jax.grad(lambda params: jnp.sum(closed_form_kl(Q, prior.apply(params))))(params)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_the_fit_has_the_moments_of_the_mixture_and_the_least_kl():
    prior = fitted_normal(latent_size=L)
    params = prior.init(jax.random.key(0))
    weight = np.ones(50)
    weight[40:] = 0  # rows of padding
    statistics = jax.tree.map(np.asarray, prior.observe(Q, jnp.asarray(weight, jnp.float32)))
    fitted = prior.fit(params, statistics)
    mean = MEANS[:40].mean(axis=0)
    covariance = np.cov(MEANS[:40].T, bias=True) + np.diag(np.exp(LOG_VARS[:40]).mean(axis=0))
    np.testing.assert_allclose(fitted["mean"], mean, rtol=1e-4, atol=1e-5)
    factor = np.asarray(prior.apply({"prior": fitted}).factor, np.float64)
    np.testing.assert_allclose(factor @ factor.T, covariance, rtol=1e-4, atol=1e-5)

    def mean_kl(m: np.ndarray, s: np.ndarray) -> float:
        return np.mean([kl(MEANS[row], LOG_VARS[row], m, s) for row in range(40)])

    least = mean_kl(mean, covariance)
    assert least < mean_kl(np.zeros(L), np.eye(L))
    for _ in range(20):  # any other Gaussian is worse
        other = RNG.normal(size=(L, L)) * 0.1
        assert least < mean_kl(mean + 0.1 * RNG.normal(size=L), covariance + other @ other.T)
