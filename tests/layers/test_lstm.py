"""The LSTM layer, encoder and decoder against float64 NumPy, one sentence and token at a time.

The oracle is given each sentence at its own length, so that it has no padding to mask.
"""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.encoders import lstm_encoder
from jvae.layers import LSTM, LSTMCarry, dropout, lstm_cell, lstm_scan, product, word_dropout
from jvae.random import Stream, stream
from tests.conftest import LATENT, VOCAB, make_batch, make_model

RATES = {"dropout_in": 0.5, "dropout_out": 0.3, "word_dropout": 0.4}
MODEL = make_model(**RATES)
SKIPPING = make_model(**RATES, skip=True)
BATCH = make_batch(5, 7, seed=1)
B, T = BATCH.x.targets.shape
Z = jnp.asarray(np.random.default_rng(2).normal(size=(B, LATENT)), jnp.float32)
KEY = jax.random.key(4)


def random_params(init, *args):
    """Weights in U(-0.8, 0.8), biases included, without compiling the initialisers."""
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(init, jax.random.key(0), *args)
    return jax.tree.map(lambda s: jnp.asarray(rng.uniform(-0.8, 0.8, s.shape), s.dtype), shapes)


def float64(params):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def numpy_step(params, cell, hidden, x, extra=0.0):
    """Gates in the order input, forget, candidate, output; `extra` joins every gate."""
    size = len(cell)
    gates = x @ params["input"]["kernel"] + params["input"]["bias"]
    gates = gates + hidden @ params["recurrent_kernel"] + extra
    write, keep = sigmoid(gates[:size]), sigmoid(gates[size : 2 * size])
    candidate, read = np.tanh(gates[2 * size : 3 * size]), sigmoid(gates[3 * size :])
    cell = keep * cell + write * candidate
    return cell, read * np.tanh(cell)


def numpy_encoder(params, tokens, length):
    cell = hidden = np.zeros(len(params["lstm"]["recurrent_kernel"]))
    for token in tokens[: length + 1]:  # <s>, the words and </s>
        cell, hidden = numpy_step(
            params["lstm"], cell, hidden, params["embedding"]["embedding"][token]
        )
    return hidden @ params["head"]["kernel"]


def numpy_decoder(params, z, inputs, targets, length, keep_in=None, keep_out=None):
    """`log p(x | z)`; `keep_in` and `keep_out` multiply the embeddings and the output states."""
    cell = z @ params["latent_to_cell"]["kernel"]
    hidden = np.tanh(cell)
    from_latent = z @ params["latent_to_gates"]["kernel"]
    total = 0.0
    for t in range(length):
        x = params["embedding"]["embedding"][inputs[t]]
        x = x if keep_in is None else x * keep_in[t]
        cell, hidden = numpy_step(params["lstm"], cell, hidden, x, from_latent)
        output = hidden if keep_out is None else hidden * keep_out[t]
        if "latent_to_output" in params:
            output = output + z @ params["latent_to_output"]["kernel"]
        logits = output @ params["output_kernel"]
        total += logits[targets[t]] - np.log(np.sum(np.exp(logits)))
    return total


@pytest.fixture(scope="module")
def decoder_params():
    return random_params(MODEL.decoder.init, Z, BATCH)


def test_the_encoder_is_the_numpy_one():
    params = random_params(MODEL.encoder.init, BATCH)
    apply = jax.jit(lambda p, b: MODEL.encoder.apply(p, b, key=None, train=False))
    q = apply(params, BATCH)
    tokens, lengths = np.asarray(BATCH.x.ids), np.asarray(BATCH.x.lengths)
    assert len(set(lengths.tolist())) > 2  # there is padding to mask
    rows = zip(tokens, lengths, strict=True)
    expected = np.stack([numpy_encoder(float64(params), *row) for row in rows])
    np.testing.assert_allclose(q.mean, expected[:, :LATENT], atol=1e-5)
    np.testing.assert_allclose(q.log_var, expected[:, LATENT:], atol=1e-5)
    # What stands in the padding is never read.
    filled = jnp.where(jnp.arange(T + 1) <= BATCH.x.lengths[:, None], BATCH.x.ids, 7)
    assert not np.array_equal(filled, BATCH.x.ids)
    np.testing.assert_array_equal(
        apply(params, BATCH.replace(x=jvae.Tokens(filled, BATCH.x.lengths))).mean, q.mean
    )


def test_the_point_encoder_has_the_mean_alone():
    encoder = lstm_encoder(
        vocab_size=VOCAB, latent_size=LATENT, embed_size=5, hidden_size=7, point=True
    )
    params = random_params(encoder.init, BATCH)
    assert params["head"]["kernel"].shape == (7, LATENT)
    mean = jax.jit(lambda: encoder.apply(params, BATCH, key=None, train=False).mean)()
    rows = zip(np.asarray(BATCH.x.ids), np.asarray(BATCH.x.lengths), strict=True)
    expected = np.stack([numpy_encoder(float64(params), *row) for row in rows])
    np.testing.assert_allclose(mean, expected, atol=1e-5)


def test_the_decoder_is_the_numpy_one(decoder_params):
    log_prob = jax.jit(lambda p, z, b: MODEL.decoder.log_prob(p, z, b, key=None, train=False))
    expected = [
        numpy_decoder(float64(decoder_params), *row)
        for row in zip(
            float64(Z),
            np.asarray(BATCH.x.inputs),
            np.asarray(BATCH.x.targets),
            np.asarray(BATCH.x.lengths),
            strict=True,
        )
    ]
    result = log_prob(decoder_params, Z, BATCH)
    np.testing.assert_allclose(result, expected, atol=1e-5, rtol=1e-6)
    filled = jnp.where(jnp.arange(T + 1) <= BATCH.x.lengths[:, None], BATCH.x.ids, 7)
    np.testing.assert_array_equal(
        log_prob(decoder_params, Z, BATCH.replace(x=jvae.Tokens(filled, BATCH.x.lengths))), result
    )


@pytest.mark.parametrize("model", [MODEL, SKIPPING], ids=["plain", "skip"])
def test_the_training_decoder_is_the_numpy_one_under_the_same_noise(model):
    """Dropout on the input embeddings and before the output layer, and nowhere else."""
    decoder_params = random_params(model.decoder.init, Z, BATCH)

    @jax.jit
    def training(p, z, b):
        def keep(name: Stream, rate: float, size: int):
            return dropout(jnp.ones((B, T, size)), rate, key=stream(KEY, name), index=b.index)

        words = word_dropout(
            b.x.inputs, RATES["word_dropout"], key=stream(KEY, Stream.WORD_DROPOUT), index=b.index
        )
        keep_in = keep(Stream.EMBEDDING_DROPOUT, RATES["dropout_in"], 5)
        keep_out = keep(Stream.OUTPUT_DROPOUT, RATES["dropout_out"], 7)
        log_prob = model.decoder.log_prob(p, z, b, key=KEY, train=True)
        return log_prob, words, keep_in, keep_out

    log_prob, words, keep_in, keep_out = map(np.asarray, training(decoder_params, Z, BATCH))
    assert np.any(words != BATCH.x.inputs)
    expected = [
        numpy_decoder(float64(decoder_params), *row)
        for row in zip(
            float64(Z),
            words,
            np.asarray(BATCH.x.targets),
            np.asarray(BATCH.x.lengths),
            keep_in,
            keep_out,
            strict=True,
        )
    ]
    np.testing.assert_allclose(log_prob, expected, atol=1e-5, rtol=1e-6)


def test_with_a_skip_connection_z_reaches_the_output_past_a_dead_recurrence():
    """All weights of the LSTM zero: `p(x_t | x_<t, z) = softmax(z W_s W_o)`, and z still counts."""
    shapes = jax.eval_shape(SKIPPING.decoder.init, KEY, Z, BATCH)
    params = jax.tree.map(lambda s: jnp.zeros(s.shape), shapes)
    live = random_params(SKIPPING.decoder.init, Z, BATCH)
    params |= {name: live[name] for name in ("latent_to_output", "output_kernel")}
    logits = float64(Z) @ float64(live)["latent_to_output"]["kernel"]
    logits = logits @ float64(live)["output_kernel"]
    log_probs = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    expected = np.where(BATCH.x.mask, np.take_along_axis(log_probs, BATCH.x.targets, 1), 0).sum(1)
    found = SKIPPING.decoder.log_prob(params, Z, BATCH, key=None, train=False)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    _, from_step = SKIPPING.decoder.steps.step(
        params, SKIPPING.decoder.steps.start(params, Z, None, 1), BATCH.x.inputs[:, 0]
    )
    np.testing.assert_allclose(jax.nn.log_softmax(from_step), log_probs, atol=1e-5)


def test_the_layer_step_outputs_and_last_agree():
    layer = LSTM(3, lambda key, shape, dtype=jnp.float32: jax.random.normal(key, shape, dtype))
    x = jnp.asarray(np.random.default_rng(5).normal(size=(2, 4, 6)), jnp.float32)
    lengths = jnp.asarray([4, 2])
    params = random_params(lambda key: layer.init(key, x, method="project")["params"])
    # `project` alone creates every parameter: the recurrent kernel is set up with it.
    assert params["recurrent_kernel"].shape == (3, 12)
    assert params["input"]["bias"].shape == (12,)
    rng = np.random.default_rng(6)
    start = LSTMCarry(*(jnp.asarray(rng.normal(size=(2, 3)), jnp.float32) for _ in range(2)))

    @jax.jit
    def run(params):
        def call(method, *args):
            return layer.apply({"params": params}, *args, method=method)

        projected = call("project", x)
        one = call("step", start, projected[:, 0])
        return call("outputs", start, projected), one, call("last", projected, lengths)

    outputs, one, last = run(params)
    reference = float64(params)
    for row in range(2):
        cell, hidden = (np.asarray(field[row], np.float64) for field in start)
        for t in range(4):
            cell, hidden = numpy_step(reference, cell, hidden, np.asarray(x[row, t], np.float64))
            np.testing.assert_allclose(outputs[row, t], hidden, atol=1e-5)
            if t == 0:
                np.testing.assert_allclose(one.cell[row], cell, atol=1e-5)
                np.testing.assert_allclose(one.hidden[row], hidden, atol=1e-5)
        cell, hidden = np.zeros(3), np.zeros(3)
        for t in range(int(lengths[row])):
            cell, hidden = numpy_step(reference, cell, hidden, np.asarray(x[row, t], np.float64))
        np.testing.assert_allclose(last[row], hidden, atol=1e-5)


def plain_scan(recurrent_kernel, start, projected):
    """What `lstm_scan` computes, with the derived gradient."""

    def body(carry, gates):
        carry = lstm_cell(carry, gates, recurrent_kernel)
        return carry, carry.hidden

    return jax.lax.scan(body, start, projected)[1]


@pytest.mark.parametrize("size", [3, 512])  # a wide state is multiplied turned on a CPU
def test_the_written_gradient_of_the_scan_is_the_derived_one(size):
    rng = np.random.default_rng(8)
    shapes = {
        "kernel": (size, 4 * size),
        "cell": (2, size),
        "hidden": (2, size),
        "projected": (5, 2, 4 * size),
    }
    x = {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in shapes.items()}
    x["kernel"] /= np.sqrt(size / 3)
    weights = jnp.asarray(rng.normal(size=(5, 2, size)), jnp.float32)

    def value(scan, x):
        hidden = scan(x["kernel"], LSTMCarry(x["cell"], x["hidden"]), x["projected"])
        return jnp.sum(weights * hidden**2)

    @jax.jit
    def both(x):
        return [jax.value_and_grad(partial(value, scan))(x) for scan in (lstm_scan, plain_scan)]

    (ours, our_gradient), (plain, plain_gradient) = both(x)
    np.testing.assert_allclose(ours, plain, rtol=1e-6)
    for name, gradient in plain_gradient.items():
        assert np.abs(gradient).max() > 0.1
        np.testing.assert_allclose(our_gradient[name], gradient, rtol=1e-4, atol=1e-5)

    # Differentiated again (semi-amortised inference does).
    def inner(scan, x):
        return jnp.sum(jax.grad(partial(value, scan))(x)["projected"] ** 2)

    @jax.jit
    def second(x):
        return [jax.grad(partial(inner, scan))(x) for scan in (lstm_scan, plain_scan)]

    for a, b in zip(*map(jax.tree.leaves, second(x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_wide_states_are_multiplied_turned():
    def products(rows: int) -> set[tuple[int, ...]]:
        start = LSTMCarry(jnp.zeros((rows, 512)), jnp.zeros((rows, 512)))
        arguments = (jnp.zeros((512, 2048)), start, jnp.zeros((2, rows, 2048)))
        text = jax.jit(lstm_scan).lower(*arguments).as_text()
        return {
            tuple(map(int, found.groups()))
            for found in re.finditer(r"dot_general.*-> tensor<(\d+)x(\d+)xf32>", text)
        }

    assert products(128) == {(2048, 128)}
    assert products(129) == {(129, 2048)}  # many rows fill the cores as they are


def rounded(x: np.ndarray) -> np.ndarray:
    return np.asarray(jnp.asarray(x, jnp.bfloat16), np.float64)


def test_a_product_of_rounded_factors_is_the_numpy_one():
    rng = np.random.default_rng(9)
    x, kernel, weights = (rng.normal(size=s).astype(np.float32) for s in ((5, 4), (4, 3), (5, 3)))

    def value(x, kernel):
        result = product(x, kernel, jnp.bfloat16)
        return jnp.sum(weights * result), result

    (_, result), (d_x, d_kernel) = jax.value_and_grad(value, (0, 1), has_aux=True)(x, kernel)
    for ours, left, right in (
        (result, x, kernel),
        (d_x, weights, kernel.T),
        (d_kernel, x.T, weights),
    ):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, rounded(left) @ rounded(right), rtol=1e-5, atol=1e-6)
        assert np.abs(ours - left @ right).max() > 1e-4  # it was rounded


def test_a_training_model_with_rounded_factors_is_close_to_the_exact_one(decoder_params):
    def gradient(dtype):
        model = make_model(dtype=dtype)

        def value(params):
            return jnp.sum(model.decoder.log_prob(params, Z, BATCH, key=KEY, train=True))

        return jax.jit(jax.grad(value))(decoder_params)

    exact, close = gradient(None), gradient(jnp.bfloat16)
    for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(close), strict=True):
        scale = np.abs(a).max()
        assert 1e-4 * scale < np.abs(a - b).max() < 0.05 * scale
