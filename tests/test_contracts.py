"""What every encoder, decoder and prior of the registries must do, and every model of them."""

import itertools
from collections.abc import Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.batch import Batch
from jvae.components import Registry
from jvae.decoders import DECODERS
from jvae.encoders import ENCODERS
from jvae.posteriors import NVIBOptions, diagonal
from jvae.priors import PRIORS
from jvae.random import example_keys
from tests.conftest import LATENT, VOCAB, make_batch

# What a task offers to its components.
SHARED = SimpleNamespace(
    vocab_size=VOCAB,
    latent_size=LATENT,
    embed_size=5,
    hidden_size=8,
    point=False,
    family=diagonal(),
    dropout_in=0.3,
    dropout_out=0.3,
    word_dropout=0.0,
    skip=False,
    init_scale=0.5,
    embed_init_scale=0.5,
    dtype=None,
    nvib=NVIBOptions(),
)
OPTIONS = {
    "transformer": {"layers": 1, "heads": 2},
    "mixture": {"components": 3},
    "vamp": {"components": 3, "length": 4},
}
BATCH = make_batch(4, 6)
B, T = BATCH.x.targets.shape
OF_SETS = ("normal_set", "dirichlet_process")
KEY = jax.random.key(6)
KEYS = example_keys(KEY, BATCH.index)
WIDE = BATCH.replace(x=BATCH.x.resized(T + 3))
LATENTS = jnp.asarray(np.random.default_rng(1).normal(size=(B, LATENT)), jnp.float32)


def made(registry: Registry, name: str, **shared) -> Any:
    """A tiny one of a registry."""
    component = registry[name]
    options = component.options(**OPTIONS.get(name, {}))
    return component.build(options, SimpleNamespace(**vars(SHARED) | shared))


def with_smoke(names: Iterable[str], chosen: str) -> list:
    """Returns the names as parameters; the chosen one is also a smoke test."""
    marks = {chosen: pytest.mark.smoke}
    return [pytest.param(name, marks=marks.get(name, ())) for name in names]


def latent_size_of(encoder: jvae.Encoder) -> int:
    """L, or 0 of an encoder that has no latent."""

    def sample(key):
        params = encoder.init(key, BATCH)
        return encoder.apply(params, BATCH, key=key, train=False).sample(KEYS)

    return jax.eval_shape(sample, KEY).shape[1]


def assert_finite(tree):
    for leaf in jax.tree.leaves(tree):
        assert np.all(np.isfinite(leaf))


def assert_close(tree, expected):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), tree, expected)


def assert_key_decides(init):
    """The same parameters from the same key, others from another."""
    first, again, other = init(KEY), init(KEY), init(jax.random.key(7))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    for ours, theirs in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True):
        assert np.ptp(ours) == 0 or not np.array_equal(ours, theirs)  # constants may be equal
    assert_finite(first)
    return first


@pytest.mark.parametrize("name", with_smoke(ENCODERS, "lstm"))
def test_encoder(name):
    encoder = made(ENCODERS, name)
    size = latent_size_of(encoder)
    params = assert_key_decides(jax.jit(lambda key: encoder.init(key, BATCH)))

    @jax.jit
    def apply(params, batch: Batch, key=None):
        q = encoder.apply(params, batch, key=key, train=False)
        z = q.sample(example_keys(KEY, batch.index))
        return q, z, q.log_prob(z)

    q, z, log_prob = apply(params, BATCH)
    assert z.shape == (B, size)
    assert log_prob.shape == (B,)
    assert_finite((q, z, log_prob))
    # Neither the key (outside training), nor padding, nor the other sentences matter.
    assert_close(apply(params, WIDE, KEY), (q, z, log_prob))
    reversed_batch = jax.tree.map(lambda field: field[::-1], BATCH)
    assert_close(apply(params, reversed_batch)[1], z[::-1])

    # In training: deterministic given the key, with finite gradients.
    @jax.jit
    def value_and_grad(params):
        def total(params):
            q = encoder.apply(params, BATCH, key=KEY, train=True)
            return jnp.sum(jnp.square(q.sample(KEYS)))

        return jax.value_and_grad(total)(params)

    value, grads = value_and_grad(params)
    assert_finite((value, grads))
    jax.tree.map(np.testing.assert_array_equal, (value, grads), value_and_grad(params))
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", with_smoke(DECODERS, "lstm"))
def test_decoder(name):
    decoder = made(DECODERS, name)
    z = LATENTS
    params = assert_key_decides(jax.jit(lambda key: decoder.init(key, z, BATCH)))

    @partial(jax.jit, static_argnames="train")
    def log_prob(params, z, batch: Batch, key, train: bool):
        return decoder.log_prob(params, z, batch, key=key, train=train)

    result = log_prob(params, z, BATCH, None, False)
    assert result.shape == (B,)
    assert_finite(result)
    assert np.all(result < 0)
    assert_close(log_prob(params, z, WIDE, KEY, False), result)
    reversed_batch = jax.tree.map(lambda field: field[::-1], BATCH)
    assert_close(log_prob(params, z[::-1], reversed_batch, None, False), result[::-1])
    # Token by token.
    carry, total = decoder.steps.start(params, z, None, T), np.zeros(B)
    step = jax.jit(decoder.steps.step)
    for t in range(T):
        carry, logits = step(params, carry, BATCH.x.inputs[:, t])
        assert logits.shape == (B, VOCAB)
        chosen = jax.nn.log_softmax(logits)[np.arange(B), BATCH.x.targets[:, t]]
        total += np.where(BATCH.x.mask[:, t], chosen, 0)
    assert_close(result, total)
    # In training: deterministic given the key, with finite gradients.
    value_and_grad = jax.jit(
        jax.value_and_grad(
            lambda params, z: jnp.sum(log_prob(params, z, BATCH, KEY, True)), argnums=(0, 1)
        )
    )
    first = value_and_grad(params, z)
    assert_finite(first)
    jax.tree.map(np.testing.assert_array_equal, first, value_and_grad(params, z))
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(first) if leaf.size)


# Those over sets are in tests/priors/test_sets.py.
@pytest.mark.parametrize(
    "name", with_smoke([name for name in PRIORS if name not in OF_SETS], "standard_normal")
)
def test_prior(name):
    encoder = made(ENCODERS, "lstm")
    prior = made(PRIORS, name, encoder=encoder)
    init = jax.jit(lambda key: encoder.init(key, BATCH))
    params = {"prior": assert_key_decides(jax.jit(prior.init)), "encoder": init(KEY)}
    z = LATENTS

    @jax.jit
    def run(params, z):
        p = prior.apply(params)
        log_prob = p.log_prob(z)
        return log_prob, jax.grad(lambda z: jnp.sum(p.log_prob(z)))(z), p.sample(KEYS[:1])

    log_prob, gradient, sample = run(params, z)
    assert log_prob.shape == (B,)
    assert gradient.shape == (B, LATENT)
    assert sample.shape == (1, LATENT)
    assert_finite((log_prob, gradient, sample))
    if name == "standard_normal":
        expected = -0.5 * np.sum(np.square(z) + np.log(2 * np.pi), axis=1)
        np.testing.assert_allclose(log_prob, expected, rtol=1e-5)


OTHERS = [name for name in ENCODERS if name != "transformer"], ["lstm", "cnn"]
MODELS = list(itertools.product(*OTHERS, ["standard_normal"]))
MODELS += [("transformer", "transformer", "vamp")]
MODELS += [("lstm", "lstm", prior) for prior in PRIORS if prior in ("mixture", "vamp")]


@pytest.mark.parametrize("names", MODELS, ids="-".join)
def test_every_model_has_an_elbo_a_gradient_and_importance_weights(names):
    encoder = made(ENCODERS, names[0])
    size = latent_size_of(encoder)
    model = jvae.VAE(
        encoder,
        made(DECODERS, names[1], latent_size=size),
        made(PRIORS, names[2], latent_size=size, encoder=encoder),
    )
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: jvae.init(model, BATCH, key=key), KEY)
    assert set(shapes) == {"encoder", "decoder", "prior"}
    params = jax.tree.map(lambda s: jnp.asarray(rng.uniform(-0.5, 0.5, s.shape), s.dtype), shapes)

    @jax.jit
    def run(params):
        def loss(params):
            terms = jvae.elbo(model, params, BATCH, key=KEY, train=True)
            return -jnp.sum(terms.elbo), terms

        (_, terms), grads = jax.value_and_grad(loss, has_aux=True)(params)
        bound, _ = jvae.iw_log_likelihood(
            model, params, BATCH, key=KEY, num_samples=4, chunk_size=2
        )
        return terms, grads, bound

    terms, grads, bound = run(params)
    assert terms.log_likelihood.shape == terms.total_kl.shape == terms.elbo.shape == (B,)
    assert bound.shape == (B,)
    assert_finite((terms, grads, bound))
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    if terms.analytic:
        assert np.all(terms.total_kl >= 0)
    # The parameters of every part are learnt.
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(grads) if leaf.size)
