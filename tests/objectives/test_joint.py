"""A decoder with a latent of its own, where log p(x) is known: z, then u given z, then x.

`z ~ N(0, 1)`, `u | z ~ N(A z, S_U^2)`, `x | z, u ~ N(B z + C u, S_X^2)`, all of them numbers. The
encoder has q(z | x), the decoder r(u | x, z), both Gaussian.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

import jvae
from jvae.random import example_keys
from jvae.remedies import iwae
from tests.test_linear_gaussian import Gaussian, Reals, gaussian_kl, within

A, S_U, B, C, S_X = 0.8, 0.6, 1.2, -0.9, 0.5
X = np.array([[-1.5], [0.2], [0.9], [2.0]])
N = len(X)
EVIDENCE = norm(0, np.sqrt((B + C * A) ** 2 + (C * S_U) ** 2 + S_X**2)).logpdf(X[:, 0])
BATCH = jvae.Batch(Reals(jnp.asarray(X, jnp.float32)), None, jnp.arange(N), jnp.ones(N))
REPEATS = 4000
KEYS = jax.random.split(jax.random.key(4), REPEATS)


def truth() -> tuple[np.ndarray, np.ndarray]:
    """The map and the covariance of `p(z, u | x)`: mean `gain x`, `[2]` and `[2, 2]`."""
    prior = np.array([[1, A], [A, A**2 + S_U**2]])
    seen = np.array([B, C])
    spread = seen @ prior @ seen + S_X**2
    gain = prior @ seen / spread
    return gain, prior - np.outer(gain, seen @ prior)


GAIN, COVARIANCE = truth()
# r(u | x, z) = N(by_x x + by_z z, variance).
BY_Z = COVARIANCE[0, 1] / COVARIANCE[0, 0]
EXACT = {
    "encoder": {"gain": GAIN[0], "log_var": np.log(COVARIANCE[0, 0])},
    "decoder": {
        "by_x": GAIN[1] - BY_Z * GAIN[0],
        "by_z": BY_Z,
        "log_var": np.log(COVARIANCE[1, 1] - BY_Z * COVARIANCE[0, 1]),
    },
}
WRONG = {
    "encoder": {"gain": GAIN[0] + 0.1, "log_var": np.log(1.5 * COVARIANCE[0, 0])},
    "decoder": EXACT["decoder"] | {"by_x": -0.35, "log_var": EXACT["decoder"]["log_var"] + 0.4},
}


def make_params(of: dict) -> dict:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), of) | {"prior": {}}


def joint_of(of: dict) -> Gaussian:
    """`q(z | x) r(u | x, z)`, means `[N, 2]` and covariances `[N, 2, 2]`."""
    encoder, decoder = of["encoder"], of["decoder"]
    mean_z = encoder["gain"] * X[:, 0]
    mean_u = decoder["by_x"] * X[:, 0] + decoder["by_z"] * mean_z
    var_z, by_z = np.exp(encoder["log_var"]), decoder["by_z"]
    var_u = by_z**2 * var_z + np.exp(decoder["log_var"])
    covariance = np.array([[var_z, by_z * var_z], [by_z * var_z, var_u]])
    return Gaussian(np.stack([mean_z, mean_u], axis=1), np.broadcast_to(covariance, (N, 2, 2)))


def encode(params, batch, context, *, key, train) -> jvae.DiagonalGaussian:
    mean = params["gain"] * batch.x.values
    return jvae.DiagonalGaussian(mean, jnp.broadcast_to(params["log_var"], mean.shape))


def joint(params, z, batch, context, *, key, train):
    x = batch.x.values
    mean = params["by_x"] * x + params["by_z"] * z
    r = jvae.DiagonalGaussian(mean, jnp.broadcast_to(params["log_var"], mean.shape))
    p = jvae.DiagonalGaussian(A * z, jnp.full_like(z, 2 * np.log(S_U)))
    u = r.sample(example_keys(key, batch.index))
    x_given = jvae.DiagonalGaussian(B * z + C * u, jnp.full_like(z, 2 * np.log(S_X)))
    terms = {"inner": jnp.sum(r.kl_to(p), axis=-1)}
    return x_given.log_prob(x), terms, p.log_prob(u) - r.log_prob(u)


def not_asked(*args, **options):
    raise AssertionError("a decoder with latents of its own has no log_prob")


MODEL = jvae.VAE(
    jvae.Encoder(lambda *_: {}, encode),
    jvae.Decoder(lambda *_: {}, not_asked, joint=joint),
    jvae.standard_normal(latent_size=1),
)


@jax.jit
def elbos(params, keys) -> jax.Array:
    """Independent repeats, `[R, N]`."""
    return jax.vmap(lambda key: jvae.elbo(MODEL, params, BATCH, key=key).elbo)(keys)


def weigh(params, number: int, chunk: int, key=KEYS[0]) -> np.ndarray:
    weights = partial(jvae.importance_weights, MODEL, num_samples=number, chunk_size=chunk)
    return np.asarray(jax.jit(weights)(params, BATCH, key=key), np.float64)


def test_at_the_true_posterior_of_both_latents_every_weight_is_p_of_x():
    params = make_params(EXACT)
    np.testing.assert_allclose(weigh(params, 20, 7), np.broadcast_to(EVIDENCE, (20, N)), atol=1e-4)
    assert within(EVIDENCE, elbos(params, KEYS))
    terms = jax.eval_shape(partial(jvae.elbo, MODEL), params, BATCH, key=KEYS[0])
    assert set(terms.kl) == {"latent", "inner"} and terms.kl["inner"].shape == (N,)


@pytest.mark.parametrize("of", [WRONG, EXACT], ids=["wrong", "exact"])
def test_the_elbo_lacks_the_kl_of_both_latents_to_their_posterior(of):
    true = Gaussian(X * GAIN, np.broadcast_to(COVARIANCE, (N, 2, 2)))
    gap = gaussian_kl(joint_of(of), true)
    assert np.all(gap > 0.05) == (of is WRONG)
    assert within(gap, EVIDENCE - np.asarray(elbos(make_params(of), KEYS), np.float64))


def test_the_bound_of_many_samples_reaches_log_p_as_each_has_latents_of_its_own():
    """With one u for all z the weights would never average over u."""
    number = 40_000
    log_weights = weigh(make_params(WRONG), number, number)
    ratios = np.exp(log_weights - EVIDENCE)
    error = ratios.std(axis=0) / np.sqrt(number)
    assert np.all(error < 0.02)
    assert np.all(np.abs(ratios.mean(axis=0) - 1) < 4 * error)
    bound = logsumexp(log_weights, axis=0) - np.log(number)
    assert np.all(np.abs(bound - EVIDENCE) < 5 * error)


def test_chunks_and_later_calls_change_no_weight():
    params = make_params(WRONG)
    whole = weigh(params, 10, 10)
    np.testing.assert_allclose(weigh(params, 10, 3), whole, rtol=1e-5, atol=1e-5)
    later = partial(jvae.importance_weights, MODEL, num_samples=4, chunk_size=4, first_sample=6)
    np.testing.assert_allclose(
        jax.jit(later)(params, BATCH, key=KEYS[0]), whole[6:], rtol=1e-5, atol=1e-5
    )
    assert len(np.unique(whole)) == whole.size


def test_the_first_weight_of_a_sample_is_the_elbo_of_its_densities():
    """The ELBO has closed forms where the weight has the densities of the same draws."""
    params = make_params(WRONG)
    one = partial(jvae.importance_weights, MODEL, params, BATCH, num_samples=1, chunk_size=1)
    first = np.asarray(jax.jit(jax.vmap(lambda key: one(key=key)[0]))(KEYS), np.float64)
    bounds = np.asarray(elbos(params, KEYS), np.float64)
    assert np.abs(first - bounds).max() > 0.1
    assert within(0.0, first - bounds)
    # The draws are the same, so that the two move together.
    assert np.corrcoef(first[:, 0], bounds[:, 0])[0, 1] > 0.5


def test_a_bound_that_does_not_know_such_latents_refuses_them():
    with pytest.raises(jvae.UserError, match="latents of its own"):
        iwae(MODEL, make_params(EXACT), BATCH, key=KEYS[0], num_samples=2, train=True)
