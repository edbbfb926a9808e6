"""The Transformer decoder: training, decoding with its cache, and what is compiled once."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.batch import UNK, Batch
from jvae.decoders import transformer_decoder
from jvae.distributions.sets import VectorSet
from jvae.encoders import transformer_encoder
from jvae.generation import beam_search
from jvae.posteriors import nvib
from tests.conftest import LATENT, VOCAB, make_batch

SIZES = {
    "vocab_size": VOCAB,
    "latent_size": LATENT,
    "embed_size": 4,
    "hidden_size": 4,
    "heads": 2,
    "layers": 1,
}
BATCH = make_batch(4, 6)
B, T = BATCH.x.targets.shape
KEY = jax.random.key(4)
RNG = np.random.default_rng(2)
VECTOR = jnp.asarray(RNG.normal(size=(B, LATENT)), jnp.float32)
SET = VectorSet(
    jnp.asarray(RNG.normal(size=(B, 3, LATENT)), jnp.float32),
    jnp.asarray(np.where(RNG.uniform(size=(B, 3)) < 0.3, -np.inf, 0), jnp.float32).at[:, 0].set(0),
)


def make(z, **options):
    """A decoder and parameters large enough to matter."""
    decoder = transformer_decoder(**(SIZES | options))
    shapes = jax.eval_shape(decoder.init, KEY, z, BATCH)
    rng = np.random.default_rng(3)
    return decoder, jax.tree.map(
        lambda s: jnp.asarray(rng.uniform(-1.2, 1.2, s.shape), s.dtype), shapes
    )


def test_the_inputless_decoder_in_training_reads_unknown_words():
    decoder, params = make(VECTOR, dropout_in=0.0, dropout_out=0.0, word_dropout=1.0)
    found = jax.jit(lambda: decoder.log_prob(params, VECTOR, BATCH, key=KEY, train=True))()
    carry, total = decoder.steps.start(params, VECTOR, None, T), np.zeros(B)
    step = jax.jit(decoder.steps.step)
    for t in range(T):
        token = jnp.full(B, UNK) if t else BATCH.x.inputs[:, 0]
        carry, logits = step(params, carry, token)
        chosen = jax.nn.log_softmax(logits)[np.arange(B), BATCH.x.targets[:, t]]
        total += np.where(BATCH.x.mask[:, t], chosen, 0)
    np.testing.assert_allclose(found, total, rtol=1e-5)


def test_with_a_skip_connection_the_output_layer_reads_z_too():
    decoder, params = make(VECTOR, skip=True, dropout_in=0.0, dropout_out=0.0)
    plain, _ = make(VECTOR)
    weights = {name: leaf for name, leaf in params.items() if name != "latent_to_output"}
    # With this output kernel the logits are the last block's output.
    weights["output_kernel"] = jnp.eye(4, VOCAB)
    bare, carry = (
        plain.steps.start(weights, VECTOR, None, T),
        decoder.steps.start(params, VECTOR, None, T),
    )
    plain_step, step = jax.jit(plain.steps.step), jax.jit(decoder.steps.step)
    skipped = np.asarray(VECTOR) @ params["latent_to_output"]["kernel"]
    total = np.zeros(B)
    for t in range(T):
        bare, hidden = plain_step(weights, bare, BATCH.x.inputs[:, t])
        carry, found = step(params, carry, BATCH.x.inputs[:, t])
        logits = (hidden[:, :4] + skipped) @ params["output_kernel"]
        np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-5)
        chosen = jax.nn.log_softmax(logits)[np.arange(B), BATCH.x.targets[:, t]]
        total += np.where(BATCH.x.mask[:, t], chosen, 0)
    for train in (True, False):
        found = decoder.log_prob(params, VECTOR, BATCH, key=KEY, train=train)
        np.testing.assert_allclose(found, total, rtol=1e-5)


def test_a_beam_has_the_probability_that_it_is_said_to_have():
    """The search moves caches about; `log_prob` has none."""
    decoder, params = make(SET)
    search = jax.jit(lambda z: beam_search(decoder, params, z, max_length=T, beam_size=3))
    found = search(SET)
    tokens = jnp.concatenate([BATCH.x.ids[:, :1], found.tokens], axis=1)
    batch = BATCH.replace(x=jvae.Tokens(tokens, found.lengths))
    rescored = jax.jit(lambda b: decoder.log_prob(params, SET, b, key=None, train=False))(batch)
    np.testing.assert_allclose(rescored, found.log_prob, rtol=1e-4)


@pytest.mark.parametrize("z", [VECTOR, SET], ids=["vector", "set"])
def test_neither_lengths_nor_positions_compile_anew(z):
    chex.clear_trace_counter()  # it counts a function's traces in all tests
    decoder, params = make(z)
    step = jax.jit(chex.assert_max_traces(decoder.steps.step, n=1))
    carry = decoder.steps.start(params, z, None, T)
    for t in range(T):
        carry, _ = step(params, carry, BATCH.x.inputs[:, t])

    @partial(chex.assert_max_traces, n=1)
    def log_prob(batch: Batch):
        return decoder.log_prob(params, z, batch, key=None, train=False)

    run, batches = jax.jit(log_prob), [make_batch(B, T, seed=seed) for seed in range(3)]
    assert len({tuple(batch.x.lengths.tolist()) for batch in batches}) == 3
    for batch in batches:
        run(batch)


def test_nor_do_they_from_nvib_through_denoising_attention():
    chex.clear_trace_counter()
    encoder = transformer_encoder(**SIZES, family=nvib(latent_size=LATENT))
    of_encoder = encoder.init(KEY, BATCH)

    def mixture(batch):
        return encoder.apply(of_encoder, batch, key=KEY, train=False).mean

    decoder, params = make(jax.eval_shape(mixture, BATCH), attention="denoising")

    @jax.jit
    @partial(chex.assert_max_traces, n=1)
    def run(batch: Batch):
        z = mixture(batch)
        of_text = decoder.log_prob(params, z, batch, key=None, train=False)
        _, logits = decoder.steps.step(
            params, decoder.steps.start(params, z, None, T), batch.x.inputs[:, 0]
        )
        return of_text, logits, z.count

    batches = [make_batch(B, T, seed=seed) for seed in range(3)]
    for batch in batches:
        of_text, logits, count = run(batch)
        assert np.all(np.isfinite(of_text)) and np.all(np.isfinite(logits))
        np.testing.assert_array_equal(count, batch.x.lengths + 1)
    assert len({tuple(batch.x.lengths.tolist()) for batch in batches}) == 3


def products(jaxpr) -> list[tuple[int, ...]]:
    """The shapes of all products' results, also within inner programs."""
    shapes = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            shapes.append(equation.outvars[0].aval.shape)
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                shapes += products(inner)
    return shapes


def test_a_token_costs_no_more_the_more_tokens_came_before():
    """In the step, no product but those of attention knows how many tokens there may be."""
    decoder, params = make(VECTOR, layers=2)
    shapes = {}
    for length in (50, 100):
        carry = decoder.steps.start(params, VECTOR, None, length)
        step = jax.make_jaxpr(decoder.steps.step)(params, carry, BATCH.x.inputs[:, 0])
        shapes[length] = products(step.jaxpr)
    assert len(shapes[50]) > 10
    for short, long in zip(shapes[50], shapes[100], strict=True):
        assert short == tuple(50 if axis == 100 else axis for axis in long)
    # Per block: weights [B, N, 1, T] know it, sums of values do not.
    assert sum(100 in shape for shape in shapes[100]) == 2


def test_samples_share_what_does_not_depend_on_z():
    decoder, params = make(VECTOR, layers=2, hidden_size=8)
    several = jnp.stack([VECTOR, 2 * VECTOR, 3 * VECTOR])

    def log_probs(z):
        return jax.vmap(lambda z: decoder.log_prob(params, z, BATCH, key=None, train=False))(z)

    shapes = products(jax.make_jaxpr(log_probs)(several).jaxpr)
    # The first block's queries, keys and values are of B sentences, the second's of 3 B.
    projected = [shape for shape in shapes if shape[-1] == 3 * 8]
    assert sorted(map(np.prod, projected)) == [B * T * 24, 3 * B * T * 24]
    # No logits of all tokens at once.
    assert max(np.prod(shape) for shape in shapes if shape[-1] == VOCAB) == 3 * B * VOCAB


def test_a_language_model_is_told_nothing():
    decoder = transformer_decoder(**(SIZES | {"latent_size": 0}))
    shapes = jax.eval_shape(decoder.init, KEY, jnp.zeros((B, 0)), BATCH)
    block = shapes["transformer"]["blocks_0"]
    assert set(block) == {
        "self_attention",
        "attention_norm",
        "widen",
        "narrow",
        "feed_forward_norm",
    }
