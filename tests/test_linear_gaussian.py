"""A model whose log p(x), posterior and ELBO are known: x = W z + b + s noise, z standard normal.

The continuous x reaches the decoder through `batch.index`. The oracle is float64 NumPy and SciPy.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

import jvae
from jvae.objectives.elbo import latent_keys
from jvae.random import sample_keys
from jvae.types import Array, Batch
from tests.conftest import make_batch

N, LATENT, OBSERVED = 4, 2, 3
BIAS, SCALE = np.array([0.3, -0.5, 0.1]), 0.7
# Orthogonal columns make the posterior diagonal; the other map correlates the two dimensions.
ORTHOGONAL = np.array([[1.0, 0.5], [1.0, -0.5], [0.0, 0.8]])
CORRELATED = np.array([[1.0, 0.9], [0.4, -0.3], [0.2, 0.8]])
DATA = np.random.default_rng(0).normal(size=(N, OBSERVED)) * 1.3


class Gaussian(NamedTuple):
    """Means `[N, L]` and covariances `[N, L, L]`."""

    mean: np.ndarray
    covariance: np.ndarray


def log_evidence(weight: np.ndarray) -> np.ndarray:
    covariance = weight @ weight.T + SCALE**2 * np.eye(OBSERVED)
    return multivariate_normal(BIAS, covariance).logpdf(DATA)


def posterior(weight: np.ndarray) -> Gaussian:
    covariance = np.linalg.inv(np.eye(LATENT) + weight.T @ weight / SCALE**2)
    mean = (DATA - BIAS) @ weight @ covariance / SCALE**2
    return Gaussian(mean, np.broadcast_to(covariance, (N, LATENT, LATENT)))


def gaussian_kl(q: Gaussian, p: Gaussian) -> np.ndarray:
    precision = np.linalg.inv(p.covariance)
    difference = p.mean - q.mean
    return 0.5 * (
        np.einsum("nij,nji->n", precision, q.covariance)
        + np.einsum("ni,nij,nj->n", difference, precision, difference)
        - LATENT
        + np.linalg.slogdet(p.covariance)[1]
        - np.linalg.slogdet(q.covariance)[1]
    )


def expected_log_likelihood(weight: np.ndarray, q: Gaussian) -> np.ndarray:
    """`E_q log N(x; W z + b, s^2 I)` in closed form."""
    residual = DATA - BIAS - q.mean @ weight.T
    spread = np.einsum("di,nij,dj->n", weight, q.covariance, weight)
    constant = OBSERVED * np.log(2 * np.pi * SCALE**2)
    return -0.5 * (constant + (np.sum(residual**2, axis=1) + spread) / SCALE**2)


def wrong(weight: np.ndarray) -> Gaussian:
    """Off centre and wider than the posterior, so that the weights have finite variance."""
    exact = posterior(weight)
    variance = 1.5 * np.diagonal(exact.covariance, axis1=1, axis2=2) + 0.05
    return Gaussian(exact.mean + np.array([0.3, -0.2]), variance[:, :, None] * np.eye(LATENT))


def make_params(q: Gaussian) -> dict:
    variance = np.diagonal(q.covariance, axis1=1, axis2=2)
    encoder = {
        "mean": jnp.asarray(q.mean, jnp.float32),
        "log_var": jnp.asarray(np.log(variance), jnp.float32),
    }
    return {"encoder": encoder, "decoder": {}, "prior": {}}


def make_linear(weight: np.ndarray) -> jvae.VAE:
    matrix, bias = jnp.asarray(weight, jnp.float32), jnp.asarray(BIAS, jnp.float32)
    data = jnp.asarray(DATA, jnp.float32)

    def encode(params, batch: Batch, *, key, train: bool) -> jvae.DiagonalGaussian:
        return jvae.DiagonalGaussian(params["mean"][batch.index], params["log_var"][batch.index])

    def log_prob(params, z: Array, batch: Batch, *, key, train: bool) -> Array:
        residual = data[batch.index] - z @ matrix.T - bias
        constant = OBSERVED * np.log(2 * np.pi * SCALE**2)
        return -0.5 * (constant + jnp.sum(residual**2, axis=-1) / SCALE**2)

    def unused(*args):
        raise AssertionError("not part of this test")

    return jvae.VAE(
        jvae.Encoder(unused, encode),
        jvae.Decoder(unused, log_prob, unused, unused),
        jvae.standard_normal(latent_size=LATENT),
        LATENT,
    )


BATCH = make_batch(N, 4)
REPEATS = 4000
KEYS = jax.random.split(jax.random.key(3), REPEATS)


def within(mean, expected, samples: np.ndarray, errors: float = 4.0) -> bool:
    """Whether `mean` is within so many standard errors of `expected`; samples `[R, N]`."""
    standard_error = np.std(samples, axis=0, ddof=1) / np.sqrt(len(samples))
    return bool(np.all(np.abs(mean - expected) < errors * standard_error + 1e-5))


def iw_repeats(weight: np.ndarray, q: Gaussian, num_samples: int) -> np.ndarray:
    """Independent repeats of the bound, `[R, N]`."""
    model, params = make_linear(weight), make_params(q)

    def bound(key):
        return jvae.iw_log_likelihood(
            model, params, BATCH, key=key, num_samples=num_samples, chunk_size=num_samples
        )[0]

    return np.asarray(jax.jit(jax.vmap(bound))(KEYS), np.float64)


@pytest.mark.parametrize("weight", [ORTHOGONAL, CORRELATED], ids=["orthogonal", "correlated"])
def test_the_elbo_lies_below_log_p_by_the_kl_to_the_true_posterior(weight):
    q = wrong(weight)
    gap = gaussian_kl(q, posterior(weight))
    standard = Gaussian(np.zeros((N, LATENT)), np.broadcast_to(np.eye(LATENT), (N, 2, 2)))
    exact = expected_log_likelihood(weight, q) - gaussian_kl(q, standard)
    np.testing.assert_allclose(log_evidence(weight) - exact, gap, atol=1e-12)  # the oracle itself
    assert np.all(gap > 0.05)

    model, params = make_linear(weight), make_params(q)
    terms = jax.jit(jax.vmap(lambda key: jvae.elbo(model, params, BATCH, key=key)))(KEYS)
    one_sample = np.asarray(jax.vmap(lambda t: t.elbo)(terms), np.float64)
    assert within(log_evidence(weight) - one_sample.mean(axis=0), gap, one_sample)

    # One call with many samples averages them: fifty times as many, seven times as close.
    many = 50 * REPEATS
    terms = jax.jit(lambda key: jvae.elbo(model, params, BATCH, key=key, num_samples=many))(KEYS[0])
    np.testing.assert_allclose(terms.total_kl, gaussian_kl(q, standard), rtol=1e-5)
    errors = np.abs(np.asarray(terms.elbo) - exact)
    assert np.all(errors < 4 * one_sample.std(axis=0) / np.sqrt(many) + 1e-4)
    assert np.all(errors < 0.02)


def test_with_the_exact_posterior_every_weight_is_p_of_x():
    q = posterior(ORTHOGONAL)
    off_diagonal = q.covariance[:, ~np.eye(LATENT, dtype=bool)]
    np.testing.assert_allclose(off_diagonal, 0, atol=1e-12)
    bound, log_weights = jvae.iw_log_likelihood(
        make_linear(ORTHOGONAL),
        make_params(q),
        BATCH,
        key=jax.random.key(0),
        num_samples=200,
        chunk_size=64,
    )
    evidence = log_evidence(ORTHOGONAL)
    np.testing.assert_allclose(log_weights, np.broadcast_to(evidence, (200, N)), atol=1e-4)
    np.testing.assert_allclose(bound, evidence, atol=1e-4)


def test_the_exact_posterior_has_no_gap():
    model, params = make_linear(ORTHOGONAL), make_params(posterior(ORTHOGONAL))
    elbos = jax.vmap(lambda key: jvae.elbo(model, params, BATCH, key=key).elbo)(KEYS)
    assert within(np.mean(elbos, axis=0), log_evidence(ORTHOGONAL), np.asarray(elbos))


def test_the_importance_weighted_nll_falls_to_the_exact_one():
    exact, q = -log_evidence(CORRELATED), wrong(CORRELATED)
    counts = (1, 4, 16, 128)
    repeats = [-iw_repeats(CORRELATED, q, count) for count in counts]
    means = np.stack([r.mean(axis=0) for r in repeats])
    errors = np.stack([r.std(axis=0, ddof=1) for r in repeats]) / np.sqrt(REPEATS)
    # One sample: the ELBO, whose gap is the KL.
    gap = gaussian_kl(q, posterior(CORRELATED))
    assert within(means[0] - exact, gap, repeats[0])
    # From above, and falling by more than the noise of two independent means.
    assert np.all(means > exact - 4 * errors)
    step, noise = -np.diff(means, axis=0), np.hypot(errors[1:], errors[:-1])
    assert np.all(step > 4 * noise)
    # The bias is var(w / p) / 2K to first order: what is left at the largest K.
    assert np.all(means[-1] - exact < 0.02)


def test_weights_are_unbiased():
    model, params = make_linear(CORRELATED), make_params(wrong(CORRELATED))
    log_weights = jvae.importance_weights(
        model, params, BATCH, key=jax.random.key(5), num_samples=20_000, chunk_size=20_000
    )
    ratios = np.exp(np.asarray(log_weights, np.float64) - log_evidence(CORRELATED))
    assert ratios.std() < 3
    assert within(ratios.mean(axis=0), 1.0, ratios)


def test_the_reparameterised_gradient_is_that_of_the_closed_form():
    q = wrong(CORRELATED)
    model, params = make_linear(CORRELATED), make_params(q)

    def objective(encoder, key):
        return jnp.sum(jvae.elbo(model, {**params, "encoder": encoder}, BATCH, key=key).elbo)

    grads = jax.jit(jax.vmap(jax.grad(objective), in_axes=(None, 0)))(params["encoder"], KEYS)
    variance = np.diagonal(q.covariance, axis1=1, axis2=2)
    residual = DATA - BIAS - q.mean @ CORRELATED.T
    by_mean = residual @ CORRELATED / SCALE**2 - q.mean
    curvature = np.sum(CORRELATED**2, axis=0) / SCALE**2
    by_log_var = 0.5 * (1 - variance * (1 + curvature))
    for name, expected in (("mean", by_mean), ("log_var", by_log_var)):
        samples = np.asarray(grads[name], np.float64)
        assert within(samples.mean(axis=0), expected, samples), name


def test_sample_k_is_the_same_whatever_the_number_of_samples():
    model, params, key = make_linear(CORRELATED), make_params(wrong(CORRELATED)), KEYS[7]
    log_weights = {
        count: np.asarray(
            jvae.importance_weights(
                model, params, BATCH, key=key, num_samples=count, chunk_size=count
            )
        )
        for count in (1, 3, 8)
    }
    for count in (1, 3):
        np.testing.assert_allclose(log_weights[count], log_weights[8][:count], rtol=1e-6)
    assert len(np.unique(log_weights[8])) == 8 * N  # and no sample is drawn twice
    # The ELBO averages the first S of the same samples.
    q = model.encoder.apply(params["encoder"], BATCH, key=None, train=False)
    z = jax.vmap(q.sample)(sample_keys(latent_keys(key, BATCH), jnp.arange(8)))
    by_sample = np.stack(
        [model.decoder.log_prob({}, sample, BATCH, key=None, train=False) for sample in z]
    )
    for count in (1, 3, 8):
        terms = jvae.elbo(model, params, BATCH, key=key, num_samples=count)
        np.testing.assert_allclose(terms.log_likelihood, by_sample[:count].mean(0), rtol=1e-5)
    standard = jvae.DiagonalGaussian(jnp.zeros((1, LATENT)), jnp.zeros((1, LATENT)))
    ratios = np.stack([standard.log_prob(sample) - q.log_prob(sample) for sample in z])
    np.testing.assert_allclose(log_weights[8], by_sample + ratios, rtol=1e-5, atol=1e-5)
