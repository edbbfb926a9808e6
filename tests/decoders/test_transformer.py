"""The Transformer decoder: training, decoding with its cache, and what is compiled once."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jvae.decoders import transformer_decoder
from jvae.generation import beam_search, fill_blanks, greedy, sample
from jvae.sets import VectorSet
from jvae.types import EOS, PAD, UNK, Batch
from tests.conftest import LATENT, VOCAB, make_batch

SIZES = {
    "vocab_size": VOCAB,
    "latent_size": LATENT,
    "embed_size": 4,
    "hidden_size": 4,
    "heads": 2,
}
BATCH = make_batch(4, 6)
B, T = BATCH.targets.shape
KEY = jax.random.key(4)
RNG = np.random.default_rng(2)
VECTOR = jnp.asarray(RNG.normal(size=(B, LATENT)), jnp.float32)
SET = VectorSet(
    jnp.asarray(RNG.normal(size=(B, 3, LATENT)), jnp.float32),
    jnp.asarray(np.where(RNG.uniform(size=(B, 3)) < 0.3, -np.inf, 0), jnp.float32).at[:, 0].set(0),
)
LATENTS = pytest.mark.parametrize("z", [VECTOR, SET], ids=["vector", "set"])


def make(z, **options):
    """A decoder and parameters large enough to matter."""
    decoder = transformer_decoder(**SIZES, **options)
    shapes = jax.eval_shape(decoder.init, KEY, z, BATCH)
    rng = np.random.default_rng(3)
    return decoder, jax.tree.map(
        lambda s: jnp.asarray(rng.uniform(-1.2, 1.2, s.shape), s.dtype), shapes
    )


def test_training_without_dropout_is_evaluation_and_words_are_dropped_from_what_is_read():
    quiet = {"dropout_in": 0.0, "dropout_out": 0.0}
    decoder, params = make(VECTOR, **quiet)
    evaluated = decoder.log_prob(params, VECTOR, BATCH, key=None, train=False)
    trained = decoder.log_prob(params, VECTOR, BATCH, key=KEY, train=True)
    np.testing.assert_allclose(trained, evaluated, rtol=1e-5)
    # Inputless: what step() says after <s> <unk> <unk> ..
    inputless = transformer_decoder(**SIZES, **quiet, word_dropout=1.0)
    carry, expected = decoder.start(params, VECTOR, T), np.zeros(B)
    step = jax.jit(decoder.step)
    for t in range(T):
        token = BATCH.inputs[:, 0] if t == 0 else jnp.full(B, UNK)
        carry, logits = step(params, carry, token)
        chosen = jax.nn.log_softmax(logits)[np.arange(B), BATCH.targets[:, t]]
        expected += np.where(BATCH.mask[:, t], chosen, 0)
    found = inputless.log_prob(params, VECTOR, BATCH, key=KEY, train=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@LATENTS
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_what_is_decoded_has_the_probability_that_it_is_said_to_have(z, norm):
    """Beams move caches about; `log_prob` has none."""
    decoder, params = make(z, norm=norm)
    rescored = jax.jit(lambda z, b: decoder.log_prob(params, z, b, key=None, train=False))
    decoded = {
        "greedy": greedy(decoder, params, z, max_length=T),
        "sample": sample(decoder, params, z, key=KEY, max_length=T),
        "beam": beam_search(decoder, params, z, max_length=T, beam_size=3),
    }
    texts = set()
    for how, found in decoded.items():
        tokens = jnp.concatenate([BATCH.tokens[:, :1], found.tokens], axis=1)
        batch = BATCH._replace(tokens=tokens, lengths=found.lengths)
        np.testing.assert_allclose(rescored(z, batch), found.log_prob, rtol=1e-4, err_msg=how)
        texts.add(np.asarray(found.tokens).tobytes())
    assert len(texts) > 1
    # A search of 3 may not end below the greedy path, but here it does not.
    assert np.any(decoded["beam"].log_prob > decoded["greedy"].log_prob)


def test_blanks_are_filled():
    decoder, params = make(SET)
    blank = jnp.zeros((B, T), bool).at[:, 0].set(True) & (BATCH.targets != EOS)
    found = fill_blanks(decoder, params, SET, BATCH, blank, beam_size=VOCAB)
    tokens, log_prob = found.tokens[:, 0], found.log_prob[:, 0]
    batch = BATCH._replace(tokens=jnp.where(BATCH.tokens == PAD, PAD, tokens))
    best = decoder.log_prob(params, SET, batch, key=None, train=False)
    np.testing.assert_allclose(log_prob, best, rtol=1e-4)
    theirs = decoder.log_prob(params, SET, BATCH, key=None, train=False)
    assert np.all(best >= theirs - 1e-4) and np.any(best > theirs + 0.1)


def test_lengths_compile_nothing_anew():
    decoder, params = make(VECTOR)

    @partial(chex.assert_max_traces, n=1)
    def log_prob(z, batch: Batch):
        return decoder.log_prob(params, z, batch, key=None, train=False)

    @partial(chex.assert_max_traces, n=1)
    def decode(z):
        return greedy(decoder, params, z, max_length=T)

    log_prob, decode, lengths = jax.jit(log_prob), jax.jit(decode), set()
    for seed in range(3):
        log_prob(VECTOR, make_batch(B, T, seed=seed))
        lengths.add(tuple(decode(VECTOR * (seed - 1)).lengths.tolist()))
    assert len(lengths) > 1


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
    decoder, params = make(VECTOR)
    shapes = {}
    for length in (50, 100):
        carry = decoder.start(params, VECTOR, length)
        step = jax.make_jaxpr(decoder.step)(params, carry, BATCH.inputs[:, 0])
        shapes[length] = products(step.jaxpr)
    assert len(shapes[50]) > 10
    for short, long in zip(shapes[50], shapes[100], strict=True):
        assert short == tuple(50 if axis == 100 else axis for axis in long)
    # Per block: weights [B, N, 1, T] know it, sums of values do not.
    assert sum(100 in shape for shape in shapes[100]) == 2


def test_samples_share_what_does_not_depend_on_z():
    decoder, params = make(VECTOR)
    several = jnp.stack([VECTOR, 2 * VECTOR, 3 * VECTOR])

    def log_probs(z):
        return jax.vmap(lambda z: decoder.log_prob(params, z, BATCH, key=None, train=False))(z)

    shapes = products(jax.make_jaxpr(log_probs)(several).jaxpr)
    # The first block's queries, keys and values are of B sentences, the second's of 3 B.
    projected = [shape for shape in shapes if shape[-1] == 3 * SIZES["hidden_size"]]
    assert sorted(map(np.prod, projected)) == [B * T * 12, 3 * B * T * 12]
    # No logits of all tokens at once.
    assert max(np.prod(shape) for shape in shapes if VOCAB in shape) == 3 * B * VOCAB
