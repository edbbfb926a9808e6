"""A model whose log p(x), posterior and ELBO are known: x = W z + b + s noise, z standard normal.

x is an observation of its own kind, of real numbers. The oracle is float64 NumPy and SciPy.
"""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import jvae
from jvae.batch import Batch
from jvae.objectives.elbo import latent_keys
from jvae.posteriors.full import FullGaussian
from jvae.random import sample_keys
from jvae.types import Array

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


def make_params(q: Gaussian, weight: np.ndarray) -> dict:
    variance = np.diagonal(q.covariance, axis1=1, axis2=2)
    encoder = {
        "mean": jnp.asarray(q.mean, jnp.float32),
        "log_var": jnp.asarray(np.log(variance), jnp.float32),
    }
    return {"encoder": encoder, "decoder": jnp.asarray(weight, jnp.float32), "prior": {}}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Reals:
    """What these models explain, `[B, D]` numbers."""

    values: Array

    @property
    def size(self) -> Array:
        return jnp.full(len(self.values), self.values.shape[1])

    def resized(self, width: int) -> "Reals":
        return self


def encode(params, batch: Batch, context, *, key, train: bool) -> jvae.DiagonalGaussian:
    """Without amortisation: each example has parameters of its own, by its number."""
    return jvae.DiagonalGaussian(params["mean"][batch.index], params["log_var"][batch.index])


def decode(weight, z: Array, batch: Batch, context, *, key, train: bool) -> Array:
    residual = batch.x.values - z @ weight.T - np.asarray(BIAS, np.float32)
    constant = OBSERVED * np.log(2 * np.pi * SCALE**2)
    return -0.5 * (constant + jnp.sum(residual**2, axis=-1) / SCALE**2)


def unused(*args):
    raise AssertionError("not part of this test")


MODEL = jvae.VAE(
    jvae.Encoder(unused, encode),
    jvae.Decoder(unused, decode),
    jvae.standard_normal(latent_size=LATENT),
)
BATCH = Batch(Reals(jnp.asarray(DATA, jnp.float32)), None, jnp.arange(N), jnp.ones(N))
REPEATS, COUNT, MANY = 4000, 128, 200_000
KEYS = jax.random.split(jax.random.key(3), REPEATS)


@jax.jit
def one_sample_elbos(params, keys) -> Array:
    """Independent repeats, `[R, N]`."""
    return jax.vmap(lambda key: jvae.elbo(MODEL, params, BATCH, key=key).elbo)(keys)


@jax.jit
def bounds(params, keys) -> tuple[Array, Array]:
    """Independent repeats of the bound and its weights, `[R, N]` and `[R, K, N]`."""

    def bound(key):
        return jvae.iw_log_likelihood(
            MODEL, params, BATCH, key=key, num_samples=COUNT, chunk_size=COUNT
        )

    return jax.vmap(bound)(keys)


@partial(jax.jit, static_argnames="num_samples")
def elbo(params, key, num_samples: int) -> jvae.ELBOTerms:
    return jvae.elbo(MODEL, params, BATCH, key=key, num_samples=num_samples)


def within(expected: np.ndarray | float, samples: np.ndarray) -> bool:
    """Whether the mean of independent samples `[R, N]` is within 4 standard errors."""
    samples = np.asarray(samples, np.float64)
    standard_error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    return bool(np.all(np.abs(samples.mean(axis=0) - expected) < 4 * standard_error + 1e-5))


@pytest.mark.parametrize("weight", [ORTHOGONAL, CORRELATED], ids=["orthogonal", "correlated"])
def test_the_elbo_lies_below_log_p_by_the_kl_to_the_true_posterior(weight):
    q = wrong(weight)
    gap = gaussian_kl(q, posterior(weight))
    standard = Gaussian(np.zeros((N, LATENT)), np.broadcast_to(np.eye(LATENT), (N, 2, 2)))
    exact = expected_log_likelihood(weight, q) - gaussian_kl(q, standard)
    np.testing.assert_allclose(log_evidence(weight) - exact, gap, atol=1e-12)  # the oracle itself
    assert np.all(gap > 0.05)

    params = make_params(q, weight)
    repeats = np.asarray(one_sample_elbos(params, KEYS), np.float64)
    assert within(gap, log_evidence(weight) - repeats)

    # One call with many samples averages them: fifty times as many, seven times as close.
    terms = elbo(params, KEYS[0], MANY)
    np.testing.assert_allclose(terms.total_kl, gaussian_kl(q, standard), rtol=1e-5)
    errors = np.abs(np.asarray(terms.elbo) - exact)
    assert np.all(errors < 4 * repeats.std(axis=0) / np.sqrt(MANY) + 1e-4)
    assert np.all(errors < 0.02)


def test_with_the_exact_posterior_every_weight_is_p_of_x():
    q, evidence = posterior(ORTHOGONAL), log_evidence(ORTHOGONAL)
    off_diagonal = q.covariance[:, ~np.eye(LATENT, dtype=bool)]
    np.testing.assert_allclose(off_diagonal, 0, atol=1e-12)
    params = make_params(q, ORTHOGONAL)
    bound, log_weights = bounds(params, KEYS)
    np.testing.assert_allclose(
        log_weights, np.broadcast_to(evidence, (REPEATS, COUNT, N)), atol=1e-4
    )
    np.testing.assert_allclose(bound, np.broadcast_to(evidence, (REPEATS, N)), atol=1e-4)
    # And the ELBO has no gap.
    assert within(evidence, one_sample_elbos(params, KEYS))


def test_the_importance_weighted_nll_falls_to_the_exact_one():
    exact, q = -log_evidence(CORRELATED), wrong(CORRELATED)
    params, repeats = make_params(q, CORRELATED), []
    for count, seed in ((1, 10), (4, 11), (16, 12), (COUNT, 13)):  # independent of each other
        bound, log_weights = bounds(params, jax.random.split(jax.random.key(seed), REPEATS))
        by_hand = logsumexp(np.asarray(log_weights[:, :count], np.float64), axis=1) - np.log(count)
        if count == COUNT:
            np.testing.assert_allclose(bound, by_hand, atol=1e-4)
        repeats.append(-by_hand)
    # One sample: the ELBO, whose gap is the KL.
    assert within(gaussian_kl(q, posterior(CORRELATED)), repeats[0] - exact)
    # From above, sentence by sentence.
    means = np.stack([r.mean(axis=0) for r in repeats])
    errors = np.stack([r.std(axis=0, ddof=1) for r in repeats]) / np.sqrt(REPEATS)
    assert np.all(means > exact - 4 * errors)
    # Falling, in the mean over sentences, by more than the noise of two independent means.
    mean = means.mean(axis=1)
    error = np.sqrt(np.sum(errors**2, axis=1)) / N
    assert np.all(-np.diff(mean) > 4 * np.hypot(error[1:], error[:-1]))
    # What is left is var(w / p) / 2K to first order.
    ratios = np.exp(np.asarray(log_weights, np.float64) + exact)
    left = ratios.var(axis=(0, 1)) / (2 * COUNT)
    np.testing.assert_allclose(means[-1] - exact, left, atol=4 * errors[-1].max())
    assert np.all(means[-1] - exact < 0.02)
    # Jensen takes the whole bias: the weights themselves are unbiased, E w = p(x).
    assert within(1.0, ratios.reshape(-1, N))


def test_the_reparameterised_gradient_is_that_of_the_closed_form():
    q = wrong(CORRELATED)
    params = make_params(q, CORRELATED)

    def objective(encoder, key):
        return jnp.sum(jvae.elbo(MODEL, {**params, "encoder": encoder}, BATCH, key=key).elbo)

    grads = jax.jit(jax.vmap(jax.grad(objective), in_axes=(None, 0)))(params["encoder"], KEYS)
    variance = np.diagonal(q.covariance, axis1=1, axis2=2)
    by_mean = (DATA - BIAS - q.mean @ CORRELATED.T) @ CORRELATED / SCALE**2 - q.mean
    curvature = np.sum(CORRELATED**2, axis=0) / SCALE**2
    by_log_var = 0.5 * (1 - variance * (1 + curvature))
    assert within(by_mean, grads["mean"])
    assert within(by_log_var, grads["log_var"])


def test_sample_k_is_the_same_whatever_the_number_of_samples():
    params, key = make_params(wrong(CORRELATED), CORRELATED), KEYS[0]

    @jax.jit
    def by_hand(params, key):
        q = encode(params["encoder"], BATCH, None, key=None, train=False)
        z = jax.vmap(q.sample)(sample_keys(latent_keys(key, BATCH), jnp.arange(MANY)))
        log_likelihood = jax.vmap(
            lambda s: decode(params["decoder"], s, BATCH, None, key=None, train=False)
        )(z)
        return z, log_likelihood, jax.vmap(q.log_prob)(z)

    z, log_likelihood, log_q = (np.asarray(a, np.float64) for a in by_hand(params, key))
    assert len(np.unique(z[:COUNT])) == z[:COUNT].size  # no noise is used twice
    # The ELBO averages the first samples, one or many, ..
    many = elbo(params, key, MANY)
    np.testing.assert_allclose(many.log_likelihood, log_likelihood.mean(axis=0), rtol=1e-4)
    one = one_sample_elbos(params, KEYS)[0] + many.total_kl
    np.testing.assert_allclose(one, log_likelihood[0], rtol=1e-5)
    # .. and the importance weights are made of the same ones.
    log_prior = -0.5 * np.sum(z**2 + np.log(2 * np.pi), axis=-1)
    log_weights = bounds(params, KEYS)[1][0]
    expected = (log_likelihood + log_prior - log_q)[:COUNT]
    np.testing.assert_allclose(log_weights, expected, rtol=1e-5, atol=1e-5)


def test_an_encoder_that_reads_x_reaches_the_true_posterior_of_every_example():
    """`E[z | x]` is linear in x: one map serves all examples, also those that it was not made for.

    Its gradient is that of the table of means, times x (the chain rule).
    """
    covariance = posterior(CORRELATED).covariance[0]
    gain = CORRELATED @ covariance / SCALE**2
    # A full covariance, as the weights have no orthogonal columns.
    factor = jnp.asarray(np.linalg.cholesky(covariance), jnp.float32)

    def amortised(params, batch: Batch, context, *, key, train: bool) -> FullGaussian:
        mean = (batch.x.values - np.asarray(BIAS, np.float32)) @ params
        return FullGaussian(mean, jnp.broadcast_to(factor, (batch.rows, LATENT, LATENT)))

    model = MODEL._replace(encoder=jvae.Encoder(unused, amortised))
    others = np.random.default_rng(5).normal(size=(6, OBSERVED)) * 2
    batch = Batch(Reals(jnp.asarray(others, jnp.float32)), None, jnp.arange(6), jnp.ones(6))
    params = {"encoder": jnp.asarray(gain, jnp.float32), "prior": {}}
    params["decoder"] = jnp.asarray(CORRELATED, jnp.float32)
    whole = CORRELATED @ CORRELATED.T + SCALE**2 * np.eye(OBSERVED)
    evidence = multivariate_normal(BIAS, whole).logpdf(others)
    weigh = partial(jvae.importance_weights, model, num_samples=8, chunk_size=8)
    weights = jax.jit(weigh)(params, batch, key=KEYS[0])
    np.testing.assert_allclose(weights, np.broadcast_to(evidence, (8, 6)), atol=2e-4)

    def elbos(encoder, key):
        return jvae.elbo(model, params | {"encoder": encoder}, batch, key=key).elbo

    # At another map, whose gradient is not zero.
    away = params["encoder"] + 0.1
    slopes = jax.jit(jax.vmap(jax.jacrev(elbos), in_axes=(None, 0)))(away, KEYS)
    mean = (others - BIAS) @ np.asarray(away, np.float64)
    by_mean = (others - BIAS - mean @ CORRELATED.T) @ CORRELATED / SCALE**2 - mean
    assert within((others - BIAS)[:, :, None] * by_mean[:, None], slopes)
