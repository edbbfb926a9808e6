"""The learned priors against SciPy, and what they change."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from scipy.special import logsumexp

import jvae
from jvae.distributions import DiagonalGaussian, kl_divergence
from jvae.priors import mixture, vamp
from jvae.priors.mixture import GaussianMixture
from tests.conftest import LATENT, make_batch, make_model

RNG = np.random.default_rng(0)
LOGITS = np.array([0.3, -1.0, 0.8])
MEANS = np.array([[-3.0, 0.5], [0.0, 4.0], [2.5, -1.0]])
LOG_VARS = np.array([[-1.0, 0.5], [0.3, -2.0], [0.0, -0.7]])
WEIGHTS = np.exp(LOGITS) / np.exp(LOGITS).sum()
P = GaussianMixture(*(jnp.asarray(a, jnp.float32) for a in (LOGITS, MEANS, LOG_VARS)))


def log_density(z: np.ndarray) -> np.ndarray:
    parts = stats.norm(MEANS, np.exp(LOG_VARS / 2)).logpdf(z[..., None, :]).sum(axis=-1)
    return logsumexp(parts + np.log(WEIGHTS), axis=-1)


def test_the_density_is_that_of_scipy_and_broadcasts_over_samples():
    z = 3 * RNG.normal(size=(4, 5, 2)).astype(np.float32)
    np.testing.assert_allclose(P.log_prob(jnp.asarray(z)), log_density(z), rtol=1e-5, atol=1e-5)


def test_samples_fall_into_each_component_by_its_weight_and_have_the_moments():
    number = 20_000
    z = np.asarray(jax.jit(P.sample)(jax.random.split(jax.random.key(0), number)), np.float64)
    parts = stats.norm(MEANS, np.exp(LOG_VARS / 2)).logpdf(z[:, None]).sum(-1) + np.log(WEIGHTS)
    shares = np.exp(parts - logsumexp(parts, axis=1, keepdims=True))
    error = shares.std(axis=0) / np.sqrt(number)
    assert np.all(np.abs(shares.mean(axis=0) - WEIGHTS) < 4 * error)
    error = z.std(axis=0) / np.sqrt(number)
    assert np.all(np.abs(z.mean(axis=0) - P.mean[0]) < 4 * error)
    np.testing.assert_allclose(z.var(axis=0), np.exp(P.log_var[0]), rtol=0.05)
    # Exact up to rounding: the density's own integral over each axis says the same.
    grid = np.linspace(-12, 12, 4001)
    for d in range(2):
        p = np.exp(stats.norm(MEANS[:, d], np.exp(LOG_VARS[:, d] / 2)).logpdf(grid[:, None]))
        p = (p @ WEIGHTS) * (grid[1] - grid[0])
        np.testing.assert_allclose(P.mean[0, d], p @ grid, rtol=1e-4)
        np.testing.assert_allclose(
            np.exp(P.log_var[0, d]), p @ grid**2 - (p @ grid) ** 2, rtol=1e-4
        )


def test_the_kl_is_estimated_and_said_to_be():
    q = DiagonalGaussian(jnp.asarray([[2.0, -1.0]]), jnp.asarray([[-1.0, -0.5]]))
    z = jax.vmap(q.sample)(jax.random.split(jax.random.key(2), (4000, 1)))
    kl, analytic = kl_divergence(q, P, z)
    assert not analytic and kl.shape == (1,)
    # By quadrature over the plane.
    axis = np.linspace(-6, 8, 801)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1)
    log_q = stats.norm(np.asarray(q.mean[0]), np.exp(np.asarray(q.log_var[0]) / 2)).logpdf(grid)
    log_q = log_q.sum(axis=-1)
    exact = np.sum(np.exp(log_q) * (log_q - log_density(grid))) * (axis[1] - axis[0]) ** 2
    spread = np.std(q.log_prob(z) - P.log_prob(z)) / np.sqrt(4000)
    assert abs(float(kl[0]) - exact) < 4 * spread


def test_a_mixture_learns_the_aggregate_posterior():
    """Two clusters: its own gradient moves it there, and of the KL log 2 is left."""
    prior = mixture(latent_size=1, components=2)
    q = DiagonalGaussian(jnp.asarray([[-3.0], [3.0]]), jnp.full((2, 1), -2.0))
    z = jax.vmap(q.sample)(jax.random.split(jax.random.key(3), (200, 2)))

    def kl(params):
        return jnp.mean(kl_divergence(q, prior.apply({"prior": params}), z)[0])

    @jax.jit
    def descend(params):
        def update(_, params):
            return jax.tree.map(lambda a, g: a - 0.2 * g, params, jax.grad(kl)(params))

        return jax.lax.fori_loop(0, 300, update, params)

    start = prior.init(jax.random.key(5))
    params = descend(start)
    assert float(kl(start)) > 4
    np.testing.assert_allclose(float(kl(params)), np.log(2), atol=0.03)
    np.testing.assert_allclose(np.sort(params["means"][:, 0]), [-3, 3], atol=0.1)


# The VampPrior.

MODEL = make_model()
BATCH = make_batch(3, 5)


def test_a_vamp_prior_of_the_sentences_themselves_is_their_aggregate_posterior():
    """With the words' own embeddings as pseudo-sentences its density is `1/K sum_k q(z | x_k)`."""
    lengths = jnp.full(3, 5)  # sentences of one length: pseudo-sentences have no padding
    tokens = jnp.asarray(RNG.integers(4, 12, (3, 6)))
    batch = BATCH.replace(x=jvae.Tokens(tokens, lengths))
    encoder = jax.jit(MODEL.encoder.init)(jax.random.key(0), batch)
    prior = vamp(encoder=MODEL.encoder, components=3, length=6, embed_size=5, init_scale=0.1)
    pseudo = encoder["embedding"]["embedding"][tokens]
    p = prior.apply({"encoder": encoder, "prior": {"pseudo": pseudo}})
    q = jax.jit(partial(MODEL.encoder.apply, key=None, train=False))(encoder, batch)
    z = RNG.normal(size=(4, 3)).astype(np.float32)
    each = stats.norm(np.asarray(q.mean), np.exp(np.asarray(q.log_var) / 2)).logpdf(z[:, None])
    expected = logsumexp(each.sum(axis=-1), axis=1) - np.log(3)
    np.testing.assert_allclose(p.log_prob(z), expected, rtol=1e-4)


def test_a_vamp_prior_reaches_the_encoder_and_its_pseudo_sentences():
    prior = vamp(encoder=MODEL.encoder, components=2, length=3, embed_size=5, init_scale=0.1)
    params = {
        "encoder": jax.jit(MODEL.encoder.init)(jax.random.key(0), BATCH),
        "prior": prior.init(jax.random.key(1)),
    }
    assert params["prior"]["pseudo"].shape == (2, 3, 5)
    grads = jax.jit(jax.grad(lambda p: jnp.sum(prior.apply(p, None).log_prob(jnp.ones((1, 3))))))(
        params
    )
    assert np.all(np.any(grads["prior"]["pseudo"] != 0, axis=(1, 2)))
    assert np.any(grads["encoder"]["head"]["kernel"] != 0)
    with pytest.raises(jvae.UserError, match="from_embeddings"):
        vamp(encoder=jvae.no_encoder(), components=2, length=3, embed_size=5, init_scale=0.1)


def test_trained_pseudo_sentences_raise_the_log_density_of_the_aggregate_posterior():
    """To its own: of an encoder that tells the sentences apart, and is left as it is."""
    batch = make_batch(4, 5)
    encoder = jax.jit(MODEL.encoder.init)(jax.random.key(0), batch)
    encoder["head"]["kernel"] = encoder["head"]["kernel"].at[:, :LATENT].mul(40)  # the means
    prior = vamp(encoder=MODEL.encoder, components=4, length=5, embed_size=5, init_scale=0.5)
    q = jax.jit(partial(MODEL.encoder.apply, key=None, train=False))(encoder, batch)
    z = jax.vmap(q.sample)(jax.random.split(jax.random.key(1), (100, 4)))
    optimiser = optax.adam(0.05)

    def loss(params):
        return -jnp.mean(prior.apply({"encoder": encoder, "prior": params}).log_prob(z))

    @jax.jit
    def train(params):
        def update(carry, _):
            params, state = carry
            value, grads = jax.value_and_grad(loss)(params)
            updates, state = optimiser.update(grads, state)
            return (optax.apply_updates(params, updates), state), -value

        return jax.lax.scan(update, (params, optimiser.init(params)), length=300)[1]

    found = np.asarray(train(prior.init(jax.random.key(2))))
    normal = stats.norm.logpdf(np.asarray(z, np.float64)).sum(axis=-1).mean()
    own = GaussianMixture(jnp.zeros(4), q.mean, q.log_var).log_prob(z).mean()
    assert found[-1] > max(normal, found[0]) + 2
    np.testing.assert_allclose(found[-1], own, atol=0.1)
