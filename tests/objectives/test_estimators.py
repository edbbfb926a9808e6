"""Gradient estimators of `E_q f(z)` against closed forms and finite differences."""

import itertools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp, softmax

import jvae
from jvae.distributions import closed_form_kl
from jvae.estimators import ESTIMATORS
from jvae.random import example_keys, sample_keys
from jvae.types import Array

B, K, D = 3, 4, 2
KEY = jax.random.key(7)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(B, K))
PRIOR_LOGITS = RNG.normal(size=K)
X = RNG.normal(size=(B, D))
CENTRES = 2 * RNG.normal(size=(K, D))


class Classes(NamedTuple):
    """A small family of classes `[B]`, numbered."""

    logits: Array

    def sample(self, keys) -> Array:
        logits = jnp.broadcast_to(self.logits, (len(keys), K))
        return jax.vmap(jax.random.categorical)(keys, logits)

    def log_prob(self, z: Array) -> Array:
        log_q = jax.nn.log_softmax(self.logits)
        log_q = jnp.broadcast_to(log_q, (*z.shape, K))
        return jnp.take_along_axis(log_q, z[..., None], axis=-1)[..., 0]

    def support(self) -> Array:
        return jnp.broadcast_to(jnp.arange(K)[:, None], (K, len(self.logits)))

    def kl_to(self, p) -> Array:
        if not isinstance(p, Classes):
            return NotImplemented
        log_q, log_p = jax.nn.log_softmax(self.logits), jax.nn.log_softmax(p.logits)
        return jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=-1)


def log_prob(params, z, batch, context, *, key, train) -> Array:
    """A mixture of Gaussians: `log N(x; centre_z, I)`."""
    residual = batch.x.values[:, 0, 0] - params[z]
    return -0.5 * jnp.sum(jnp.square(residual) + np.log(2 * np.pi), axis=-1)


MODEL = jvae.VAE(
    jvae.Encoder(lambda *_: {}, lambda params, batch, context, *, key, train: Classes(params)),
    jvae.Decoder(lambda *_: {}, log_prob),
    jvae.Prior(lambda key: {}, lambda params, context: Classes(params["prior"][None])),
)
BATCH = jvae.Batch(
    jvae.Pixels(jnp.asarray(X, jnp.float32)[:, None, None]), None, jnp.arange(B), jnp.ones(B)
)
PARAMS = {
    "encoder": jnp.asarray(LOGITS, jnp.float32),
    "decoder": jnp.asarray(CENTRES, jnp.float32),
    "prior": jnp.asarray(PRIOR_LOGITS, jnp.float32),
}


def exact_joint() -> np.ndarray:
    """`log p(x, z)`, `[B, K]`."""
    squares = np.sum((X[:, None] - CENTRES) ** 2, axis=-1)
    return -0.5 * squares - D / 2 * np.log(2 * np.pi) + log_softmax(PRIOR_LOGITS)


def elbo_by_hand(logits: np.ndarray) -> np.ndarray:
    q = softmax(logits, axis=1)
    return np.sum(q * (exact_joint() - log_softmax(logits, axis=1)), axis=1)


def enumerated(params, num_samples: int = 1, key=KEY) -> jvae.ELBOTerms:
    return jvae.elbo(
        MODEL,
        params,
        BATCH,
        key=key,
        num_samples=num_samples,
        train=True,
        estimator=jvae.enumeration,
    )


def test_enumeration_is_the_exact_elbo_whatever_the_samples():
    terms = jax.jit(enumerated)(PARAMS)
    assert terms.analytic
    np.testing.assert_allclose(terms.elbo, elbo_by_hand(LOGITS), rtol=1e-5)
    for number, seed in ((1, 1), (5, 2)):
        other = jax.jit(partial(enumerated, num_samples=number))(PARAMS, key=jax.random.key(seed))
        np.testing.assert_allclose(other.elbo, terms.elbo, rtol=1e-6)
        assert other.z.shape == (number, B)
        assert set(np.unique(other.z)) <= set(range(K))
    # At the true posterior the bound is the evidence.
    exact = PARAMS | {"encoder": jnp.asarray(exact_joint(), jnp.float32)}
    np.testing.assert_allclose(
        jax.jit(enumerated)(exact).elbo, logsumexp(exact_joint(), axis=1), rtol=1e-5
    )


def test_its_gradient_is_that_of_finite_differences_and_of_the_closed_form():
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), PARAMS)
        total = jax.jit(lambda params: jnp.sum(enumerated(params).elbo))
        grads = jax.jit(jax.grad(total))(params)
        size = 1e-5
        for name, leaf in params.items():
            assert np.all(np.asarray(grads[name]) != 0)
            for place in itertools.product(*map(range, leaf.shape)):
                ends = [total(params | {name: leaf.at[place].add(s * size)}) for s in (1, -1)]
                slope = (ends[0] - ends[1]) / (2 * size)
                np.testing.assert_allclose(grads[name][place], slope, rtol=1e-5, atol=1e-8)
    # `d ELBO / d logits_k = q_k (f_k - sum_j q_j f_j)`, `f = log p(x, z) - log q(z | x)`.
    q, f = softmax(LOGITS, axis=1), exact_joint() - log_softmax(LOGITS, axis=1)
    expected = q * (f - np.sum(q * f, axis=1, keepdims=True))
    np.testing.assert_allclose(grads["encoder"], expected, rtol=1e-4, atol=1e-6)


def test_through_samples_the_encoder_gets_no_gradient_of_a_class():
    """What enumeration is for: the samples of a class have none."""

    def log_likelihood(logits, estimator):
        terms = jvae.elbo(MODEL, PARAMS | {"encoder": logits}, BATCH, key=KEY, estimator=estimator)
        return jnp.sum(terms.log_likelihood)

    through_samples, exact = (
        jax.jit(jax.grad(partial(log_likelihood, estimator=estimator)))(PARAMS["encoder"])
        for estimator in (jvae.pathwise, jvae.enumeration)
    )
    assert np.all(through_samples == 0) and np.all(exact != 0)


def test_importance_weights_of_classes_have_the_evidence_as_their_mean():
    number = 20_000
    weigh = partial(jvae.importance_weights, MODEL, num_samples=number, chunk_size=number)
    log_weights = np.asarray(jax.jit(weigh)(PARAMS, BATCH, key=KEY), np.float64)
    ratios = np.exp(log_weights - logsumexp(exact_joint(), axis=1))
    error = ratios.std(axis=0) / np.sqrt(number)
    assert np.all(np.abs(ratios.mean(axis=0) - 1) < 4 * error) and np.all(error < 0.05)


@pytest.mark.parametrize("name", ["pathwise", "enumeration"])
def test_an_estimate_is_the_mean_over_values_of_any_tree(name):
    """Of the samples, or of all values by their probabilities; leaves of any shape."""
    component = ESTIMATORS[name]
    estimator = component.build(component.options(), None)
    q = Classes(PARAMS["encoder"])
    keys = sample_keys(example_keys(KEY, jnp.arange(B)), jnp.arange(6))

    def f(z):
        one_hot = jax.nn.one_hot(z, K)
        return z.astype(jnp.float32), {
            "one_hot": one_hot,
            "square": one_hot[..., None] * jnp.ones(2),
        }

    estimate = jax.jit(lambda keys: estimator(f, q, keys, params=None, carried=None))(keys)
    z = np.asarray(jax.vmap(q.sample)(keys))
    np.testing.assert_array_equal(estimate.z, z)
    share = softmax(LOGITS, axis=1) if name == "enumeration" else np.eye(K)[z].mean(axis=0)
    number, parts = estimate.value
    np.testing.assert_allclose(number, share @ np.arange(K), rtol=1e-5)
    np.testing.assert_allclose(parts["one_hot"], share, rtol=1e-5, atol=1e-7)
    assert parts["square"].shape == (B, K, 2)
    np.testing.assert_allclose(parts["square"][..., 1], share, rtol=1e-5, atol=1e-7)
    # One sample needs no mean.
    one = jax.jit(lambda keys: estimator(f, q, keys, params=None, carried=None))(keys[:1])
    assert one.z.shape == (1, B) and one.value[1]["square"].shape == (B, K, 2)


def test_the_family_of_these_tests_has_the_textbook_kl():
    q, p = Classes(PARAMS["encoder"]), Classes(PARAMS["prior"][None])
    ratio = log_softmax(LOGITS, axis=1) - log_softmax(PRIOR_LOGITS)
    expected = np.sum(softmax(LOGITS, axis=1) * ratio, axis=1)
    np.testing.assert_allclose(closed_form_kl(q, p), expected, rtol=1e-5)
