"""Bound and gradients of K samples on the linear-Gaussian model, against NumPy and each other."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp, softmax

import jvae
from jvae.objectives.elbo import latent_keys
from jvae.random import sample_keys
from jvae.remedies import iwae, negative_iwae, stick_the_landing
from tests.test_linear_gaussian import (
    BATCH,
    BIAS,
    CORRELATED,
    DATA,
    KEYS,
    MODEL,
    ORTHOGONAL,
    SCALE,
    Gaussian,
    encode,
    log_evidence,
    make_params,
    posterior,
    within,
    wrong,
)

K = 4
STL = MODEL._replace(encoder=stick_the_landing(MODEL.encoder))


@partial(jax.jit, static_argnames="gradient")
def bounds(params, keys, weight, gradient: str):
    """Terms of each key, `[R, B]`, and the gradients of the weighed sums of their losses."""

    def loss(params, key):
        terms = iwae(MODEL, params, BATCH, key=key, num_samples=K, train=True, gradient=gradient)
        return jnp.sum(weight * negative_iwae(terms, {}, weight)), terms

    grads, terms = jax.vmap(jax.grad(loss, has_aux=True), in_axes=(None, 0))(params, keys)
    return terms, grads


@jax.jit
def path_gradients(encoder, decoder, keys):
    def loss(encoder, key):
        params = {"encoder": encoder, "decoder": decoder, "prior": {}}
        terms = jvae.elbo(STL, params, BATCH, key=key, train=True)
        assert not terms.analytic
        return -jnp.sum(terms.elbo)

    return jax.vmap(jax.grad(loss), in_axes=(None, 0))(encoder, keys)


def samples(params, key, number: int) -> np.ndarray:
    """z `[K, B, L]`, those that the library draws."""
    q = encode(params["encoder"], BATCH, None, key=None, train=True)
    keys = sample_keys(latent_keys(key, BATCH), jnp.arange(number))
    return np.asarray(jax.vmap(q.sample)(keys), np.float64)


def slope_of_log_weight(z, q, weight) -> np.ndarray:
    """`d log w / dz`, `[K, B, L]`, at fixed parameters of q."""
    variance = np.diagonal(q.covariance, axis1=1, axis2=2)
    return (DATA - BIAS - z @ weight.T) @ weight / SCALE**2 - z + (z - q.mean) / variance


ONES = jnp.ones(len(DATA))


def test_the_bound_is_the_importance_weighted_one_and_the_terms_are_the_elbos():
    params = make_params(wrong(CORRELATED), CORRELATED)
    how = partial(jvae.iw_log_likelihood, MODEL, num_samples=K, chunk_size=K)
    bound, log_weights = jax.jit(how)(params, BATCH, key=KEYS[0])
    terms = jax.jit(partial(jvae.elbo, MODEL, num_samples=K))(params, BATCH, key=KEYS[0])
    expected = logsumexp(np.asarray(log_weights, np.float64), axis=0) - np.log(K)
    np.testing.assert_allclose(bound, expected, rtol=1e-5)
    for gradient in ("plain", "dreg"):
        found = jax.tree.map(lambda leaf: leaf[0], bounds(params, KEYS, ONES, gradient)[0])
        np.testing.assert_allclose(found.bound, expected, rtol=1e-5)
        np.testing.assert_allclose(found.elbo, terms.elbo, rtol=1e-5)
        np.testing.assert_allclose(found.total_kl, terms.total_kl, rtol=1e-5)


def test_dreg_is_the_sum_of_squared_weights_times_the_path():
    q, key = wrong(CORRELATED), KEYS[0]
    params = make_params(q, CORRELATED)
    z = samples(params, key, K)
    how = partial(jvae.importance_weights, MODEL, num_samples=K, chunk_size=K)
    log_weights = jax.jit(how)(params, BATCH, key=key)
    squared = softmax(np.asarray(log_weights, np.float64), axis=0)[..., None] ** 2
    path = squared * slope_of_log_weight(z, q, CORRELATED)
    grads = bounds(params, KEYS, ONES, "dreg")[1]["encoder"]
    np.testing.assert_allclose(-grads["mean"][0], path.sum(axis=0), rtol=1e-3, atol=1e-4)
    by_log_var = np.sum(path * 0.5 * (z - q.mean), axis=0)
    np.testing.assert_allclose(-grads["log_var"][0], by_log_var, rtol=1e-3, atol=1e-4)


def test_dreg_has_the_mean_of_the_plain_gradient_and_less_noise():
    near = wrong(CORRELATED)
    far = Gaussian(near.mean + 0.4, 2 * near.covariance)  # where the gradient is large
    params = make_params(far, CORRELATED)
    (_, plain), (_, dreg) = (bounds(params, KEYS, ONES, name) for name in ("plain", "dreg"))
    for name in ("mean", "log_var"):
        pairs = np.asarray(dreg["encoder"][name]) - np.asarray(plain["encoder"][name])
        assert within(0.0, pairs)  # the noise is the same in both, so that the bars are tight
        assert np.all(
            np.std(dreg["encoder"][name], axis=0) < np.std(plain["encoder"][name], axis=0)
        )
        mean = np.abs(np.mean(plain["encoder"][name], axis=0))
        error = pairs.std(axis=0) / np.sqrt(len(pairs))
        assert np.median(mean / error) > 6  # so that a wrong power of the weights would be seen
    # The decoder's is the same, sample by sample.
    np.testing.assert_allclose(dreg["decoder"], plain["decoder"], rtol=1e-4, atol=1e-4)


def test_at_the_true_posterior_dreg_and_stl_have_no_noise():
    params = make_params(posterior(ORTHOGONAL), ORTHOGONAL)
    terms, dreg = bounds(params, KEYS, ONES, "dreg")
    np.testing.assert_allclose(terms.bound[0], log_evidence(ORTHOGONAL), atol=1e-4)
    stl = path_gradients(params["encoder"], params["decoder"], KEYS)
    plain = bounds(params, KEYS, ONES, "plain")[1]
    for name in ("mean", "log_var"):
        assert np.abs(dreg["encoder"][name]).max() < 1e-4
        assert np.abs(stl[name]).max() < 1e-4
        assert np.abs(plain["encoder"][name]).max() > 0.1


def test_a_padding_row_gets_no_gradient_and_a_weight_scales_it():
    params = make_params(wrong(CORRELATED), CORRELATED)
    whole = bounds(params, KEYS, ONES, "dreg")[1]["encoder"]
    weight = jnp.asarray([2.0, 1.0, 0.0, 1.0])
    some = bounds(params, KEYS, weight, "dreg")[1]["encoder"]
    for name in ("mean", "log_var"):
        expected = np.asarray(whole[name]) * np.asarray(weight)[:, None]
        np.testing.assert_allclose(some[name], expected, rtol=1e-4, atol=1e-5)


def test_sticking_the_landing_is_the_path_and_has_the_mean_of_the_closed_form():
    q = wrong(CORRELATED)
    params = make_params(q, CORRELATED)
    grads = path_gradients(params["encoder"], params["decoder"], KEYS)
    z = samples(params, KEYS[0], 1)
    path = slope_of_log_weight(z, q, CORRELATED)[0]
    np.testing.assert_allclose(-grads["mean"][0], path, rtol=1e-3, atol=1e-4)
    by_log_var = path * 0.5 * (z[0] - q.mean)
    np.testing.assert_allclose(-grads["log_var"][0], by_log_var, rtol=1e-3, atol=1e-4)
    # The closed form of the ELBO's gradient, as in tests/test_linear_gaussian.py.
    variance = np.diagonal(q.covariance, axis1=1, axis2=2)
    by_mean = (DATA - BIAS - q.mean @ CORRELATED.T) @ CORRELATED / SCALE**2 - q.mean
    curvature = np.sum(CORRELATED**2, axis=0) / SCALE**2
    assert within(by_mean, -np.asarray(grads["mean"]))
    assert within(0.5 * (1 - variance * (1 + curvature)), -np.asarray(grads["log_var"]))


def test_outside_training_the_posterior_is_as_it_was():
    params = make_params(wrong(CORRELATED), CORRELATED)
    terms, plain = (
        jax.jit(partial(jvae.elbo, model))(params, BATCH, key=KEYS[0]) for model in (STL, MODEL)
    )
    assert terms.analytic
    jax.tree.map(np.testing.assert_array_equal, terms, plain)
