"""The convolution decoder against float64 NumPy, one sentence and token at a time."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.decoders import CNN_SIZES, cnn_decoder
from jvae.decoders.cnn import CNNDecoder
from jvae.layers import dropout, word_dropout
from jvae.random import Stream, stream
from tests.conftest import LATENT, VOCAB, make_batch

RATES = {"dropout_in": 0.5, "dropout_out": 0.3, "word_dropout": 0.4}
SIZES = {"vocab_size": VOCAB, "latent_size": LATENT, "embed_size": 5, "hidden_size": 7}
DECODER = cnn_decoder(**SIZES, **RATES, size="S")
BATCH = make_batch(5, 12, seed=1)  # longer than the first two blocks see
B, T = BATCH.x.targets.shape
Z = jnp.asarray(np.random.default_rng(2).normal(size=(B, LATENT)), jnp.float32)
KEY = jax.random.key(4)


def random_params(decoder):
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(decoder.init, KEY, Z, BATCH)
    return jax.tree.map(lambda s: jnp.asarray(rng.uniform(-0.8, 0.8, s.shape), s.dtype), shapes)


PARAMS = random_params(DECODER)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def linear(params, x: np.ndarray) -> np.ndarray:
    return x @ params["kernel"] + params["bias"]


def numpy_block(params, rows: list[np.ndarray], dilation: int) -> list[np.ndarray]:
    """One residual block, written as the sum over three taps that it is."""
    narrow = [relu(linear(params["narrow"], row)) for row in rows]
    size = len(narrow[0])
    taps = params["filter"]["kernel"].reshape(3, size, -1)  # the oldest first
    out = []
    for t, row in enumerate(rows):
        total = params["filter"]["bias"]
        for age in range(3):
            if t - age * dilation >= 0:
                total = total + narrow[t - age * dilation] @ taps[2 - age]
        out.append(relu(row + linear(params["widen"], relu(total))))
    return out


def numpy_decoder(params, z, inputs, targets, length, keep_in=None, keep_out=None) -> float:
    """`log p(x | z)`; the input layer's kernel is that of `[e(x_t); z]`."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    kernel = np.concatenate([params["input"]["kernel"], params["latent_to_input"]["kernel"]])
    rows = []
    for t in range(length):
        x = params["embedding"]["embedding"][inputs[t]]
        x = x if keep_in is None else x * keep_in[t]
        rows.append(np.concatenate([x, z]) @ kernel + params["input"]["bias"])
    for number, dilation in enumerate((1, 2, 4)):
        rows = numpy_block(params[f"blocks_{number}"], rows, dilation)
    total = 0.0
    for t, row in enumerate(rows):
        logits = (row if keep_out is None else row * keep_out[t]) @ params["output_kernel"]
        total += logits[targets[t]] - np.log(np.sum(np.exp(logits)))
    return total


def expected(*columns) -> list[float]:
    return [numpy_decoder(PARAMS, *map(np.asarray, row)) for row in zip(*columns, strict=True)]


def test_the_decoder_is_the_numpy_one():
    run = jax.jit(lambda b: DECODER.log_prob(PARAMS, Z, b, key=None, train=False))
    columns = (Z, BATCH.x.inputs, BATCH.x.targets, BATCH.x.lengths)
    np.testing.assert_allclose(run(BATCH), expected(*columns), rtol=1e-5)
    filled = jnp.where(jnp.arange(T + 1) <= BATCH.x.lengths[:, None], BATCH.x.ids, 7)
    assert not np.array_equal(filled, BATCH.x.ids)
    np.testing.assert_array_equal(
        run(BATCH.replace(x=jvae.Tokens(filled, BATCH.x.lengths))), run(BATCH)
    )


def test_the_training_decoder_is_the_numpy_one_under_the_same_noise():
    @jax.jit
    def training():
        def keep(name: Stream, rate: float, size: int):
            return dropout(jnp.ones((B, T, size)), rate, key=stream(KEY, name), index=BATCH.index)

        words_key = stream(KEY, Stream.WORD_DROPOUT)
        return (
            DECODER.log_prob(PARAMS, Z, BATCH, key=KEY, train=True),
            word_dropout(BATCH.x.inputs, RATES["word_dropout"], key=words_key, index=BATCH.index),
            keep(Stream.EMBEDDING_DROPOUT, RATES["dropout_in"], 5),
            keep(Stream.OUTPUT_DROPOUT, RATES["dropout_out"], 7),
        )

    log_prob, words, keep_in, keep_out = training()
    assert np.any(words != BATCH.x.inputs)
    columns = (Z, words, BATCH.x.targets, BATCH.x.lengths, keep_in, keep_out)
    np.testing.assert_allclose(log_prob, expected(*columns), rtol=1e-5)


def test_the_four_sizes():
    fields = {size: 1 + 2 * sum(dilations) for size, dilations in CNN_SIZES.items()}
    assert fields == {"S": 15, "M": 63, "L": 125, "VL": 509}


@pytest.mark.parametrize(("size", "field"), [("S", 15), ("L", 125)])
def test_a_size_sees_its_receptive_field_and_no_more(size, field):
    """With positive weights every path through the blocks has a positive gradient."""
    module = CNNDecoder(vocab_size=4, latent_size=1, embed_size=1, hidden_size=2, size=size)
    shapes = jax.eval_shape(
        partial(module.init, key=KEY, train=False, method="log_prob"), KEY, Z[:, :1], BATCH
    )
    params = jax.tree.map(lambda s: jnp.full(s.shape, 0.3), shapes)
    embedded = jnp.ones((1, field + 8, 1))
    last = field + 4  # what comes after it must not matter

    @jax.jit
    @jax.grad
    def gradient(embedded):
        def hidden(module, embedded):
            return module._extend(module.start(jnp.ones((1, 1)), None, 1), embedded)[1]

        return jnp.sum(module.apply(params, embedded, method=hidden)[:, last])

    seen = np.flatnonzero(gradient(embedded)[0, :, 0])
    np.testing.assert_array_equal(seen, np.arange(last - field + 1, last + 1))
