"""Importance weights: what changes no number, and what the samples share."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

import jvae
from jvae.batch import Batch
from tests.conftest import make_batch, make_model

MODEL = make_model(word_dropout=0.5)  # no rate may act here
BATCH = make_batch(4, 6)
KEY = jax.random.key(8)
SAMPLES = 10


def random_params(model: jvae.VAE, batch: Batch = BATCH, scale: float = 0.8):
    """Weights in U(-scale, scale), without compiling the initialisers."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: jvae.init(model, batch, key=key), KEY)
    return jax.tree.map(lambda s: jnp.asarray(rng.uniform(-scale, scale, s.shape), s.dtype), shapes)


PARAMS = random_params(MODEL)


@partial(jax.jit, static_argnames=("num_samples", "chunk_size"))
def bound(params, batch: Batch, key, num_samples: int, chunk_size: int):
    return jvae.iw_log_likelihood(
        MODEL, params, batch, key=key, num_samples=num_samples, chunk_size=chunk_size
    )


@pytest.fixture(scope="module")
def whole() -> np.ndarray:
    """`[K, B]`, all samples in one chunk that has room for more."""
    return np.asarray(bound(PARAMS, BATCH, KEY, SAMPLES, 1000)[1])


def take(batch: Batch, rows) -> Batch:
    return jax.tree.map(lambda field: field[jnp.asarray(rows)], batch)


@pytest.mark.parametrize("chunk_size", [1, 4])
def test_the_chunk_size_changes_nothing(whole, chunk_size):
    """One sample at a time, and a last chunk in part."""
    assert SAMPLES % 4 != 0
    log_weights = bound(PARAMS, BATCH, KEY, SAMPLES, chunk_size)[1]
    np.testing.assert_allclose(log_weights, whole, rtol=1e-5)


def test_sample_k_does_not_depend_on_their_number(whole):
    log_weights = bound(PARAMS, BATCH, KEY, 3, 2)[1]
    assert log_weights.shape == (3, 4)
    np.testing.assert_allclose(log_weights, whole[:3], rtol=1e-5)
    assert len(np.unique(whole)) == whole.size


def test_the_bound_is_the_log_mean_of_the_weights(whole):
    result, log_weights = bound(PARAMS, BATCH, KEY, SAMPLES, 1000)
    expected = logsumexp(np.asarray(log_weights, np.float64), axis=0) - np.log(SAMPLES)
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    assert np.all(result > whole.mean(axis=0))
    assert np.all(result < whole.max(axis=0))


def test_batch_and_padding_change_nothing(whole):
    """In another order beside other sentences; alone; and in a wider bucket with text in it."""
    other = make_batch(4, 6, seed=5)
    mixed = jax.tree.map(lambda ours, theirs: theirs.at[0].set(ours[3]), BATCH, other)
    mixed = mixed.replace(index=jnp.asarray([3, 20, 21, 22], jnp.int32))
    log_weights = bound(PARAMS, mixed, KEY, SAMPLES, 1000)[1]
    np.testing.assert_allclose(log_weights[:, 0], whole[:, 3], rtol=1e-5)
    assert np.all(np.abs(log_weights[:, 1] - whole[:, 1]) > 1e-4)

    padding = jnp.full((1, 3), 7, jnp.int32)
    wide = take(BATCH, [2])
    wide = wide.replace(
        x=jvae.Tokens(jnp.concatenate([wide.x.ids, padding], axis=1), wide.x.lengths)
    )
    log_weights = bound(PARAMS, wide, KEY, SAMPLES, 1000)[1]
    np.testing.assert_allclose(log_weights[:, 0], whole[:, 2], rtol=1e-5)


class Opaque(NamedTuple):
    """The same prior as a family without closed form."""

    prior: jvae.DiagonalGaussian

    def log_prob(self, z: jax.Array) -> jax.Array:
        return self.prior.log_prob(z)


def test_the_elbo_is_made_of_the_same_samples(whole):
    """With the KL taken from the samples too, the ELBO is the mean log weight."""
    prior = jvae.Prior(lambda key: {}, lambda p, context: Opaque(MODEL.prior.apply(p, context)))
    model = MODEL._replace(prior=prior)
    terms = jax.jit(partial(jvae.elbo, model, num_samples=SAMPLES))(PARAMS, BATCH, key=KEY)
    assert not terms.analytic
    np.testing.assert_allclose(terms.elbo, whole.mean(axis=0), rtol=1e-5)


def test_without_a_latent_every_weight_is_the_exact_log_probability():
    model = jvae.VAE(
        jvae.no_encoder(), make_model(latent_size=0).decoder, jvae.standard_normal(latent_size=0)
    )
    params = random_params(model)

    @jax.jit
    def run(params):
        nothing = jnp.zeros((4, 0))
        return model.decoder.log_prob(
            params["decoder"], nothing, BATCH, key=None, train=False
        ), jvae.iw_log_likelihood(model, params, BATCH, key=KEY, num_samples=3, chunk_size=2)

    exact, (result, log_weights) = run(params)
    np.testing.assert_allclose(result, exact, rtol=1e-6)
    np.testing.assert_allclose(log_weights, np.broadcast_to(exact, (3, 4)), rtol=1e-6)


# What the samples share. The sizes are such that no two axes have the same length.

B, T, V, E, H, L, CHUNK = 2, 7, 101, 5, 4, 3, 13
SIZES = {"vocab_size": V, "latent_size": L, "embed_size": E, "hidden_size": H}
LARGE = jvae.VAE(
    jvae.lstm_encoder(**SIZES), jvae.lstm_decoder(**SIZES), jvae.standard_normal(latent_size=L)
)
SMALL_BATCH = make_batch(B, T)


def equations(jaxpr, times: int = 1):
    """Every equation at every depth, and how often it runs."""
    for equation in jaxpr.eqns:
        yield equation, times
        inside = times * (equation.params["length"] if equation.primitive.name == "scan" else 1)
        for value in equation.params.values():
            for nested in value if isinstance(value, (tuple, list)) else (value,):
                nested = getattr(nested, "jaxpr", nested)
                if hasattr(nested, "eqns"):
                    yield from equations(nested, inside)


def trace(run):
    params = jax.eval_shape(lambda key: jvae.init(LARGE, SMALL_BATCH, key=key), KEY)
    return list(equations(jax.make_jaxpr(run)(params).jaxpr))


def weights_with(num_samples: int, chunk_size: int):
    def run(params):
        return jvae.importance_weights(
            LARGE, params, SMALL_BATCH, key=KEY, num_samples=num_samples, chunk_size=chunk_size
        )

    return run


def matrix_flops(traced) -> int:
    total = 0
    for equation, times in traced:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            lengths = [equation.invars[0].aval.shape[axis] for axis in contracted]
            total += times * 2 * math.prod(lengths) * equation.outvars[0].aval.size
    return total


def sizes_of(traced) -> set[int]:
    variables = [variable for equation, _ in traced for variable in equation.outvars]
    return {v.aval.size for v in variables if hasattr(v.aval, "size")}


@pytest.mark.parametrize(("num_samples", "chunk_size"), [(1, 1), (64, 64), (64, 16)])
def test_the_encoder_runs_once_and_the_token_projections_once_a_chunk(num_samples, chunk_size):
    """Every product of matrices, counted."""
    encoder = 2 * B * ((T + 1) * E * 4 * H + (T + 1) * H * 4 * H + H * 2 * L)
    projections = 2 * B * T * E * 4 * H
    sample = 2 * B * (L * H + L * 4 * H + T * H * 4 * H + T * H * V)
    expected = encoder + num_samples // chunk_size * projections + num_samples * sample
    assert matrix_flops(trace(weights_with(num_samples, chunk_size))) == expected


def test_no_array_holds_the_logits_of_all_positions():
    """The three lengths are primes that divide no other: flattened axes are found as well."""

    def holding_all(sizes: set[int]) -> list[int]:
        return [size for size in sizes if size and size % (CHUNK * T * V) == 0]

    sizes = sizes_of(trace(weights_with(2 * CHUNK, CHUNK)))
    assert not holding_all(sizes)
    assert max(sizes) == CHUNK * B * V  # the logits of one position

    # The search finds them where they are: training holds all positions.
    def training(params):
        return jvae.elbo(
            LARGE, params, SMALL_BATCH, key=KEY, num_samples=CHUNK, train=True
        ).log_likelihood

    assert holding_all(sizes_of(trace(training)))


def test_the_compiled_program_shares_the_projections_too():
    """With wide embeddings nearly all work is in them: 64 samples cost less than twice one."""
    sizes = {"vocab_size": 12, "latent_size": 2, "embed_size": 2048, "hidden_size": 4}
    model = jvae.VAE(
        jvae.lstm_encoder(**sizes),
        jvae.lstm_decoder(**sizes),
        jvae.standard_normal(latent_size=2),
    )
    params = jax.eval_shape(lambda key: jvae.init(model, SMALL_BATCH, key=key), KEY)

    def flops(num_samples: int) -> float:
        def run(params):
            return jvae.importance_weights(
                model,
                params,
                SMALL_BATCH,
                key=KEY,
                num_samples=num_samples,
                chunk_size=num_samples,
            )

        return jax.jit(run).lower(params).compile().cost_analysis()["flops"]

    one = flops(1)
    assert one > 2 * B * (2 * T + 1) * 2048 * 16  # the projections of encoder and decoder
    assert flops(64) < 2 * one
