"""NVIB self-attention layers against NumPy, and what they cost on the way to the loss."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

import jvae
from jvae.decoders import transformer_decoder
from jvae.encoders import transformer_encoder
from jvae.encoders.bottleneck import NVIBSelfAttention, layer_terms
from jvae.evaluation.corpus import PosteriorTerms, encode
from jvae.model import Inference
from jvae.objectives import negative_elbo_by_name
from jvae.posteriors import DIAGONAL, vt
from jvae.posteriors.nvib import NVIB
from jvae.priors import normal_set, standard_normal
from jvae.random import Stream, example_keys, stream
from tests.conftest import LATENT, VOCAB, make_batch, make_model

B, T, H, HEADS, E = 3, 5, 4, 2, 2
PRIOR_ALPHA, PRUNE, DELTA = 0.7, 0.85, 0.25
KEY = jax.random.key(5)
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(B, T, H)), jnp.float32)
LENGTHS = np.array([5, 3, 1])
MASK = jnp.arange(T) < jnp.asarray(LENGTHS)[:, None]
INDEX = jnp.asarray([4, 0, 7])
LAYER = NVIBSelfAttention(H, HEADS, 2, PRIOR_ALPHA, PRUNE)
SIZES = {
    "vocab_size": VOCAB,
    "latent_size": LATENT,
    "embed_size": H,
    "hidden_size": H,
    "layers": 2,
    "heads": HEADS,
}
BATCH = make_batch(3, 5)


def random_like(shapes, seed: int = 1):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(rng.uniform(-0.8, 0.8, s.shape), s.dtype), shapes)


def random_latent(seed: int) -> NVIB:
    """As of a layer below."""
    rng = np.random.default_rng(seed)
    means, log_vars = jnp.asarray(rng.normal(size=(2, B, T + 1, H)), jnp.float32)
    log_alpha = jnp.asarray(rng.normal(size=(B, T + 1)), jnp.float32)
    present = np.arange(T + 1) <= LENGTHS[:, None]
    log_alpha = jnp.where(present, log_alpha, -jnp.inf)
    return NVIB(means, log_vars, log_alpha, jnp.asarray(LENGTHS + 1.0, jnp.float32))


BELOW = random_latent(2)
PARAMS = random_like(
    jax.eval_shape(lambda: LAYER.init(KEY, X, below=None, noise=None, mask=MASK)["params"])
)


@jax.jit
def run(params, x, below, noise, mask):
    return LAYER.apply({"params": params}, x, below=below, noise=noise, mask=mask)


# A layer.


def numpy_latent(params, x, log_skip):
    """Means, variances and alphas of one sentence without padding, the prior's row first."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["latent"])
    means, log_vars = (x @ p[name]["kernel"] + p[name]["bias"] for name in ("mean", "log_var"))
    log_alpha = x @ p["alpha"]["kernel"] / np.sqrt(H) + x**2 @ p["alpha_quadratic"]["kernel"] / H
    alpha = np.exp(log_alpha[:, 0] + p["alpha"]["bias"] + log_skip)
    first = np.zeros((1, H))
    return (
        np.concatenate([first, means]),
        np.exp(np.concatenate([first, log_vars])),
        np.concatenate([[PRIOR_ALPHA], alpha]),
    )


def numpy_attention(params, x, vectors, variances, weights):
    """Queries x over a mixture, sums written out; variances None for impulses."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["attention"])
    query = x @ p["query"]["kernel"]
    s, heads = np.sqrt(E), np.zeros(query.shape)
    rows = np.flatnonzero(weights > 0)
    for head, t in np.ndindex(HEADS, len(x)):
        part = slice(head * E, (head + 1) * E)
        u = p["key_kernel"][:, part] @ query[t, part]
        logits, values = [], []
        for i in rows:
            var = 0 if variances is None else variances[i]
            logit = np.log(weights[i]) + np.sum((u - vectors[i] / 2) * vectors[i] / (var + s))
            logits.append(logit - 0.5 * np.sum(np.log(var + s) * np.ones(H)))
            values.append((var * u + s * vectors[i]) / (var + s))
        share = np.exp(np.array(logits) - max(logits))
        heads[t, part] = share / share.sum() @ np.array(values) @ p["value_kernel"][:, part]
    return heads @ p["output"]["kernel"]


@pytest.mark.parametrize("train", [False, True])
def test_a_layer_reads_a_latent_of_its_input(train):
    noise = (KEY, INDEX) if train else None
    found, q = run(PARAMS, X, BELOW, noise, MASK)
    keys = example_keys(stream(KEY, Stream.NVIB_LAYER, 2), INDEX)
    z = jax.jit(NVIB.sample)(q, keys)
    gone = 0
    for b, n in enumerate(LENGTHS):
        x = np.asarray(X[b, :n], np.float64)
        skip = np.asarray(BELOW.log_alpha[b, 1 : n + 1], np.float64)
        means, variances, alpha = numpy_latent(PARAMS, x, skip)
        np.testing.assert_allclose(q.means[b, : n + 1], means, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(np.exp(q.log_vars[b, : n + 1]), variances, rtol=1e-5)
        # What the layer above is told of is not pruned.
        np.testing.assert_allclose(np.exp(q.log_alpha[b, : n + 1]), alpha, rtol=1e-5)
        assert np.all(q.log_alpha[b, n + 1 :] == -np.inf) and q.rows[b] == n + 1
        if train:
            weights = np.exp(np.asarray(z.log_weights[b], np.float64))
            expected = numpy_attention(PARAMS, x, np.asarray(z.vectors[b]), None, weights)
        else:
            kept = np.where(alpha > PRUNE, alpha, 0)
            kept[0] = PRIOR_ALPHA  # which stays
            gone += np.sum(kept == 0)
            expected = numpy_attention(PARAMS, x, means, variances, kept / kept.sum())
        np.testing.assert_allclose(found[b, :n], expected, rtol=1e-4, atol=1e-5)
    assert train or 0 < gone < LENGTHS.sum()
    if train:  # other layers and other sentences have other noise
        other = jax.jit(NVIB.sample)(q, example_keys(stream(KEY, Stream.NVIB_LAYER, 1), INDEX))
        assert np.all(other.vectors[:, 0] != z.vectors[:, 0])


@pytest.mark.parametrize("train", [False, True])
def test_a_sentence_depends_on_itself_alone(train):
    together, q = run(PARAMS, X, BELOW, (KEY, INDEX) if train else None, MASK)

    def alone(leaf, padding):  # the second sentence, two rows wider
        widths = ((0, 0), (0, 2), (0, 0))[: leaf.ndim]
        return jnp.pad(leaf[1:2], widths, constant_values=padding)

    rows = (alone(leaf, 0.5) for leaf in (BELOW.means, BELOW.log_vars))
    below = NVIB(*rows, alone(BELOW.log_alpha, -jnp.inf), BELOW.rows[1:2])
    noise = (KEY, INDEX[1:2]) if train else None
    found, own = run(PARAMS, alone(X, 0.5), below, noise, alone(MASK, False))
    np.testing.assert_allclose(found[0, :3], together[1, :3], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(own.log_alpha[0, :4], q.log_alpha[1, :4], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(own.rows, q.rows[1:2])


def test_where_all_components_are_pruned_the_prior_answers_and_gradients_are_finite():
    params = PARAMS | {"latent": dict(PARAMS["latent"])}
    params["latent"]["alpha"] = {"kernel": jnp.zeros((H, 1)), "bias": jnp.full(1, -60.0)}

    @jax.jit
    def gradient(params, x):
        def total(params, x):
            out, q = run(params, x, BELOW, None, MASK)
            terms = layer_terms([BELOW, q], delta=DELTA, prior_alpha=PRIOR_ALPHA)
            return sum(jnp.sum(y) for y in (jnp.square(out), *terms.values())), out

        return jax.grad(total, argnums=(0, 1), has_aux=True)(params, x)

    grad, out = gradient(params, X)
    for leaf in jax.tree.leaves((grad, out)):
        assert np.all(np.isfinite(leaf))
    for b, n in enumerate(LENGTHS):
        x, zero = np.asarray(X[b, :n], np.float64), np.zeros((1, H))
        expected = numpy_attention(params, x, zero, zero + 1, np.ones(1))
        np.testing.assert_allclose(out[b, :n], expected, rtol=1e-4, atol=1e-5)


# The encoder.


def encoder(family=None, **options):
    family = vt(latent_size=LATENT) if family is None else family
    return transformer_encoder(**(SIZES | {"family": family} | options))


def random_params(model):
    return random_like(jax.eval_shape(model.init, KEY, BATCH), seed=3)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_latent_like_the_input_gives_nearly_ordinary_attention(norm):
    """Means are the input, variances nothing; alphas undo the norms and outweigh the prior's."""
    options = {"layers": 1, "norm": norm}
    plain, layered = encoder(**options), encoder(**options, nvib_layers=1)
    params = random_params(plain)
    block = dict(params["transformer"]["blocks_0"])
    own = block.pop("self_attention")
    query, key, value = jnp.split(own["input"]["kernel"], 3, axis=1)
    zero = jnp.zeros(H)
    bottleneck = {
        "attention": {
            "query": {"kernel": query},
            "key_kernel": key,
            "value_kernel": value,
            "output": own["output"],
        },
        "latent": {
            "mean": {"kernel": jnp.eye(H), "bias": zero},
            "log_var": {"kernel": jnp.zeros((H, H)), "bias": zero - 200},
            "alpha": {"kernel": jnp.zeros((H, 1)), "bias": jnp.full(1, 25.0)},
            "alpha_quadratic": {"kernel": jnp.full((H, 1), H * 0.5 / np.sqrt(E))},
        },
    }
    moved = params | {
        "transformer": params["transformer"] | {"blocks_0": block},
        "bottlenecks_0": bottleneck,
    }
    shapes = jax.eval_shape(layered.init, KEY, BATCH)
    assert jax.tree.map(jnp.shape, moved) == jax.tree.map(lambda s: s.shape, shapes)
    of_plain, of_layered = (
        jax.jit(partial(model.apply, key=KEY, train=False)) for model in (plain, layered)
    )
    expected = of_plain(params, BATCH)
    found = of_layered(moved, BATCH)
    np.testing.assert_allclose(found.posterior.means, expected.means, rtol=1e-5, atol=1e-5)
    # And not because nothing of it arrives.
    other = moved | {"bottlenecks_0": bottleneck | {"latent": PARAMS["latent"]}}
    found = of_layered(other, BATCH)
    assert np.abs(found.posterior.means - expected.means).max() > 0.05


# The terms.


def test_the_terms_are_means_of_the_layers_weighed_by_their_numbers():
    latents = [random_latent(7), random_latent(8)]
    expected = {"gaussian_layers": np.zeros(B), "dirichlet_layers": np.zeros(B)}
    for q, weight in zip(latents, (1 / 3, 2 / 3), strict=True):
        for b, tokens in enumerate(LENGTHS):
            n = tokens + 1
            alpha, means, log_vars = (
                np.asarray(leaf[b, :n], np.float64)
                for leaf in (jnp.exp(q.log_alpha), q.means, q.log_vars)
            )
            each = np.sum(np.exp(log_vars) + means**2 - 1 - log_vars, axis=1) / 2
            a, total = alpha.sum(), PRIOR_ALPHA + DELTA * tokens
            kl = special.gammaln(a) - special.gammaln(total)
            kl += (a - total) * (special.digamma(a / n) - special.digamma(a))
            kl += n * (special.gammaln(total / n) - special.gammaln(a / n))
            expected["gaussian_layers"][b] += weight * n * alpha @ each / a
            expected["dirichlet_layers"][b] += weight * kl
    found = layer_terms(latents, delta=DELTA, prior_alpha=PRIOR_ALPHA)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4)


def test_training_has_the_terms_the_bound_has_not():
    model = make_model()
    params = random_like(jax.eval_shape(partial(jvae.init, model, key=KEY), BATCH))
    layers = {"gaussian_layers": jnp.arange(1.0, 4.0), "dirichlet_layers": jnp.array([5.0, 0, 2])}

    def apply(*args, **options):
        return Inference(model.encoder.apply(*args, **options), layers, {})

    layered = model._replace(encoder=model.encoder._replace(apply=apply))
    elbo = partial(jvae.elbo, layered, key=KEY)
    assert set(jax.eval_shape(elbo, params, BATCH).kl) == {"latent"}
    terms = jax.jit(partial(elbo, train=True))(params, BATCH)
    assert set(terms.kl) == {"latent", *layers}
    scheduled = {"gaussian_weight": 0.5, "dirichlet_weight": 0.125, "kl_weight": 9.0}
    expected = 0.5 * (jnp.sum(terms.kl["latent"], axis=1) + layers["gaussian_layers"])
    expected += 0.125 * layers["dirichlet_layers"] - terms.log_likelihood
    losses = negative_elbo_by_name(terms, scheduled, BATCH.weight)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def model_of(layers: int, family, prior) -> jvae.VAE:
    decoder = transformer_decoder(**(SIZES | {"layers": 1}))
    options = {"layers": layers, "nvib_layers": layers, "nvib_delta": DELTA, "dropout_out": 0.0}
    return jvae.VAE(encoder(family, **options), decoder, prior)


def test_evaluation_tells_of_the_layers():
    model = model_of(2, vt(latent_size=LATENT), normal_set(latent_size=LATENT, max_count=6))
    params = {
        "encoder": random_params(model.encoder),
        "prior": model.prior.init(KEY),
    }
    for number in range(2):
        latent = params["encoder"][f"bottlenecks_{number}"]["latent"]
        latent["alpha"], latent["alpha_quadratic"] = jax.tree.map(
            jnp.zeros_like, (latent["alpha"], latent["alpha_quadratic"])
        )
    tell = jax.jit(partial(encode, model, key=KEY))
    encoded = jax.tree.map(np.asarray, tell(params, BATCH))
    terms = PosteriorTerms(**vars(encoded) | {"z": None}, rec=np.ones(3))
    parts, metrics = terms.kl_by_name, terms.mean_metrics
    assert parts["kl_gaussian_layers"] > 0 and parts["kl_dirichlet_layers"] > 0
    # All alphas are 1: every vector is kept; the prior's counts as none.
    kept = [metrics[name] for name in ("vectors", "vectors_layer_1", "vectors_layer_2")]
    assert kept == pytest.approx([float(np.mean(BATCH.x.lengths))] * 3)
    # What the lower layer deletes is absent from the upper one.
    params["encoder"]["bottlenecks_0"]["latent"]["alpha"]["bias"] = jnp.full(1, -10.0)
    found = tell(params, BATCH).metrics
    for number in (1, 2):
        np.testing.assert_array_equal(found[f"vectors_layer_{number}"], 0)


@pytest.mark.slow
def test_training_lowers_the_loss_and_has_gradients_whatever_the_alphas():
    model = model_of(1, DIAGONAL, standard_normal(latent_size=LATENT))
    params = random_like(jax.eval_shape(partial(jvae.init, model, key=KEY), BATCH))
    optimiser = optax.adam(0.02)
    scheduled = {"gaussian_weight": 0.1, "dirichlet_weight": 0.1}

    @jax.jit
    def step(params, state, key):
        def loss(params):
            terms = jvae.elbo(model, params, BATCH, key=key, train=True)
            return jnp.mean(negative_elbo_by_name(terms, scheduled, BATCH.weight)), terms.kl

        (value, kl), grad = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimiser.update(grad, state)
        return optax.apply_updates(params, updates), state, value, kl, grad

    state, values, costs = jax.jit(optimiser.init)(params), [], []
    for number in range(40):
        params, state, value, kl, grad = step(params, state, jax.random.fold_in(KEY, number))
        values.append(float(value))
        costs.append(float(jnp.mean(kl["gaussian_layers"])))
        if number == 0:
            for leaf in jax.tree.leaves(grad["encoder"]["bottlenecks_0"]):
                assert np.all(np.isfinite(leaf)) and np.any(leaf != 0)
    assert np.mean(values[-5:]) < np.mean(values[:5]) - 2
    assert np.mean(costs[-5:]) < 0.7 * np.mean(costs[:5])
    # No vector weighs anything but the prior's.
    params["encoder"]["bottlenecks_0"]["latent"]["alpha"]["bias"] = jnp.full(1, -60.0)
    *_, value, _, grad = step(params, state, KEY)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((value, grad)))
