"""A model of `p(x | c)` whose likelihood is known, and the one context that all its parts share.

`context = c M`, `z | c ~ N(context U, I)`, `x | z, c ~ N(z W + context V, SCALE^2 I)`.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.stats import multivariate_normal

import jvae
from jvae.model import Conditioner, decoder_from_module, encoder_from_module
from jvae.objectives.elbo import latent_keys
from jvae.posteriors.full import FullGaussian
from jvae.random import Stream, stream
from jvae.remedies import iwae, semi_amortised
from tests.test_linear_gaussian import Reals

N, GIVEN, LATENT, OBSERVED, SCALE = 5, 2, 2, 3, 0.7
RNG = np.random.default_rng(3)
M, U, W, V = (
    RNG.normal(size=s) for s in ((GIVEN, 2), (2, LATENT), (LATENT, OBSERVED), (2, OBSERVED))
)
X, C = RNG.normal(size=(N, OBSERVED)), RNG.normal(size=(N, GIVEN))
SPREAD = W.T @ W + SCALE**2 * np.eye(OBSERVED)
COVARIANCE = np.linalg.inv(np.eye(LATENT) + W @ W.T / SCALE**2)
FACTOR = jnp.asarray(np.linalg.cholesky(COVARIANCE), jnp.float32)
KEY = jax.random.key(2)


def float32(x) -> jax.Array:
    return jnp.asarray(x, jnp.float32)


BATCH = jvae.Batch(Reals(float32(X)), {"given": Reals(float32(C))}, jnp.arange(N), jnp.ones(N))
PARAMS = {"conditioner": float32(M), "encoder": {}, "decoder": float32(W), "prior": float32(U)}


class Recorded(NamedTuple):
    """A model that records who was given what."""

    model: jvae.VAE
    contexts: list
    calls: list


def recorded(*, gaussian: bool = False) -> Recorded:
    """The model; its posterior is exact, or a diagonal Gaussian that is off."""
    contexts: list[Any] = []
    calls: list[tuple[str, Any]] = []

    def condition(params, condition, *, key, train):
        contexts.append(condition["given"].values @ params)
        return contexts[-1]

    def encode(params, batch, context, *, key, train):
        calls.append(("encoder", context))
        centre = context @ float32(U)
        residual = batch.x.values - centre @ float32(W) - context @ float32(V)
        mean = centre + residual @ float32(W.T @ COVARIANCE / SCALE**2)
        if gaussian:
            return jvae.DiagonalGaussian(mean + 1, jnp.full_like(mean, -1.0))
        return FullGaussian(mean, jnp.broadcast_to(FACTOR, (batch.rows, LATENT, LATENT)))

    def decode(params, z, batch, context, *, key, train):
        calls.append(("decoder", context))
        mean = z @ params + context @ float32(V)
        return jvae.DiagonalGaussian(mean, jnp.full_like(mean, 2 * np.log(SCALE))).log_prob(
            batch.x.values
        )

    def prior(params, context):
        calls.append(("prior", context))
        return jvae.DiagonalGaussian(context @ params["prior"], jnp.zeros((1, LATENT)))

    model = jvae.VAE(
        jvae.Encoder(lambda *_: {}, encode),
        jvae.Decoder(lambda key, z, batch, context: context.sum() * float32(W), decode),
        jvae.Prior(lambda key: float32(U), prior),
        Conditioner(lambda key, condition: float32(M), condition),
    )
    return Recorded(model, contexts, calls)


def evidence(m: np.ndarray = M) -> np.ndarray:
    """`log p(x | c)`."""
    context = C @ m
    mean = context @ U @ W + context @ V
    return multivariate_normal(np.zeros(OBSERVED), SPREAD).logpdf(X - mean)


WEIGHTS = {"num_samples": 4, "chunk_size": 2}
USES = {
    "elbo": (jvae.elbo, {"num_samples": 1}),
    "samples": (jvae.elbo, {"num_samples": 3, "train": True}),
    "importance": (jvae.importance_weights, WEIGHTS),
    "bound": (jvae.iw_log_likelihood, WEIGHTS),
    "iwae": (iwae, {"num_samples": 3, "train": True}),
}


@pytest.mark.parametrize("name", USES)
def test_the_context_is_computed_once_and_reaches_every_part(name):
    model, contexts, calls = recorded()
    function, options = USES[name]
    jax.eval_shape(partial(function, model, key=KEY, **options), PARAMS, BATCH)
    assert len(contexts) == 1
    assert {who for who, _ in calls} == {"encoder", "decoder", "prior"}
    assert sum(who == "encoder" for who, _ in calls) == 1
    assert all(context is contexts[0] for _, context in calls)


def test_refinement_shares_it_too():
    model, contexts, calls = recorded(gaussian=True)
    options = {"steps": 5, "learning_rate": 0.02, "momentum": 0.5, "clip_norm": 5.0}
    refined = semi_amortised(model, **options)
    jax.eval_shape(partial(jvae.elbo, refined, key=KEY, train=True), PARAMS, BATCH)
    assert len(contexts) == 1
    assert all(context is contexts[0] for _, context in calls)

    # The steps raise the bound of p(x | c).
    def bound(model):
        def mean(key):
            return jvae.elbo(model, PARAMS, BATCH, key=key).elbo

        return np.mean(jax.jit(jax.vmap(mean))(jax.random.split(KEY, 200)), axis=0)

    assert np.all(bound(refined) > bound(model))
    assert np.all(bound(refined) < evidence())


def test_parameters_are_initialised_with_the_context():
    model, contexts, calls = recorded()
    params = jax.jit(lambda key: jvae.init(model, BATCH, key=key))(KEY)
    assert set(params) == {"conditioner", "encoder", "decoder", "prior"}
    assert len(contexts) == 1 and calls[0][1] is contexts[0]
    np.testing.assert_allclose(params["decoder"], np.sum(C @ M) * W, rtol=1e-4)
    np.testing.assert_allclose(params["conditioner"], M, rtol=1e-6)


def test_the_conditioner_has_noise_of_its_own_and_is_told_of_training():
    told = []

    def condition(params, condition, *, key, train):
        told.append((jax.random.key_data(key), train))
        return condition["given"].values

    model = recorded().model._replace(conditioner=Conditioner(lambda *_: {}, condition))
    model.context({"conditioner": {}}, BATCH.condition, key=KEY, train=True)
    model.context({"conditioner": {}}, BATCH.condition, key=KEY, train=False)
    expected = jax.random.key_data(stream(KEY, Stream.CONDITIONER))
    for (data, train), mode in zip(told, (True, False), strict=True):
        np.testing.assert_array_equal(data, expected)
        assert train is mode


def test_without_a_conditioner_there_is_no_context():
    model = recorded().model._replace(conditioner=None)
    assert model.context({}, BATCH.condition, key=KEY, train=True) is None


def test_with_the_exact_posterior_every_weight_is_p_of_x_given_c():
    model = recorded().model
    weigh = partial(jvae.importance_weights, model, key=KEY, num_samples=6, chunk_size=3)
    weights = jax.jit(weigh)(PARAMS, BATCH)
    np.testing.assert_allclose(weights, np.broadcast_to(evidence(), (6, N)), atol=2e-4)
    # Of other conditions it is another.
    turned = BATCH.replace(condition={"given": Reals(float32(C[::-1]))})
    other = jax.jit(weigh)(PARAMS, turned)
    assert np.all(np.abs(other - weights)[:, [0, 1, 3, 4]] > 1e-2)
    np.testing.assert_allclose(other[:, 2], weights[:, 2], atol=2e-4)


def test_the_conditioner_learns_by_the_likelihood():
    """The bound is log p(x | c) for every M, hence so is its gradient."""
    model = recorded().model

    @jax.jit
    def gradient(m):
        def total(m):
            params = PARAMS | {"conditioner": m}
            bound, _ = jvae.iw_log_likelihood(
                model, params, BATCH, key=KEY, num_samples=2, chunk_size=2
            )
            return jnp.sum(bound)

        return jax.grad(total)(m)

    context = C @ M
    residual = X - context @ U @ W - context @ V
    expected = C.T @ residual @ np.linalg.inv(SPREAD) @ (U @ W + V).T
    np.testing.assert_allclose(gradient(PARAMS["conditioner"]), expected, rtol=1e-3, atol=1e-3)
    # And by finite differences of the oracle.
    for place in np.ndindex(M.shape):
        step = np.zeros_like(M)
        step[place] = 1e-6
        slope = np.sum(evidence(M + step) - evidence(M - step)) / 2e-6
        np.testing.assert_allclose(expected[place], slope, rtol=1e-6)


class ReadingEncoder(nn.Module):
    """A module that reads the context."""

    @nn.compact
    def __call__(self, batch, context, *, key, train):
        return jvae.DiagonalGaussian(nn.Dense(LATENT)(context), jnp.zeros((batch.rows, LATENT)))


class ReadingDecoder(nn.Module):
    """A module that reads the context, and draws x at once."""

    def setup(self):
        self.output = nn.Dense(OBSERVED)

    def log_prob(self, z, batch, context, *, key, train):
        mean = self.output(jnp.concatenate([z, context], axis=-1))
        return jvae.DiagonalGaussian(mean, jnp.zeros_like(mean)).log_prob(batch.x.values)

    def sample(self, z, context, *, key):
        mean = self.output(jnp.concatenate([z, context], axis=-1))
        return Reals(mean + jax.random.normal(key, mean.shape))


def test_modules_read_the_context_and_sample():
    parts = recorded().model
    model = parts._replace(
        encoder=encoder_from_module(ReadingEncoder()),
        decoder=decoder_from_module(ReadingDecoder()),
    )
    assert model.decoder.steps is None and model.encoder.from_embeddings is None

    @jax.jit
    def run(key):
        params = jvae.init(model, BATCH, key=key)
        context = model.context(params, BATCH.condition, key=key, train=False)
        q = model.infer(params, BATCH, context, key=key, train=False).posterior
        z = q.sample(latent_keys(key, BATCH))
        drawn = model.decoder.sample(params["decoder"], z, context, key=key)
        moved = model.decoder.sample(params["decoder"], z, context + 1, key=key)
        terms = jvae.elbo(model, params, BATCH, key=key)
        return q, terms, drawn, moved

    q, terms, drawn, moved = run(KEY)
    jax.tree.map(np.testing.assert_array_equal, terms.posterior, q)
    assert np.all(np.isfinite(terms.elbo)) and drawn.values.shape == X.shape
    assert np.all(drawn.values != moved.values)
    # The decoders of text read tokens alone, and have no such method.
    assert (
        jvae.lstm_decoder(vocab_size=5, latent_size=1, embed_size=1, hidden_size=1).sample is None
    )
