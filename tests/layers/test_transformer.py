"""The Transformer against float64 NumPy, one head and one token at a time."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jvae.distributions.sets import VectorSet
from jvae.errors import UserError
from jvae.layers import Transformer
from jvae.layers.transformer import sinusoidal_positions
from jvae.random import Stream, stream

B, T, EMBED, H, HEADS, L, K = 3, 5, 3, 4, 2, 3, 4
KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
EMBEDDED = jnp.asarray(RNG.normal(size=(B, T, EMBED)), jnp.float32)
VECTOR = jnp.asarray(RNG.normal(size=(B, L)), jnp.float32)
MASK = jnp.arange(T) < jnp.asarray([5, 2, 3])[:, None]
PRESENT = np.array([[1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 1, 0]], bool)
SET = VectorSet(
    jnp.asarray(RNG.normal(size=(B, K, L)), jnp.float32),
    jnp.where(PRESENT, jnp.asarray(RNG.normal(size=(B, K)), jnp.float32), -jnp.inf),
)


def transformer(norm: str = "pre", **options) -> Transformer:
    defaults = {
        "embed_size": EMBED,
        "size": H,
        "layers": 1,
        "heads": HEADS,
        "feed_forward": 5,
        "norm": norm,
        "positions": "sinusoidal",
        "max_positions": 7,
        "dropout_in": 0.3,
        "dropout_out": 0.2,
        "latent_size": L,
    }
    return Transformer(**(defaults | options))


def random_params(module: Transformer, z) -> dict:
    shapes = jax.eval_shape(lambda: module.init(KEY, EMBEDDED, z, None))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda s: jnp.asarray(rng.uniform(-0.8, 0.8, s.shape), s.dtype), shapes)


def layer_norm(params, x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / math.sqrt(x.var() + 1e-6) * params["scale"] + params["bias"]


def numpy_attention(queries, keys, values, seen) -> np.ndarray:
    """`seen(t)`: the rows that query t sees."""
    width, out = H // HEADS, np.zeros((len(queries), H))
    for t, query in enumerate(queries):
        rows = seen(t)
        for head in range(HEADS):
            part = slice(head * width, (head + 1) * width)
            weights = np.exp([query[part] @ keys[i][part] / math.sqrt(width) for i in rows])
            for i, weight in zip(rows, weights / weights.sum(), strict=True):
                out[t, part] += weight * values[i][part]
    return out


def numpy_block(params, rows: np.ndarray, told, norm: str, seen) -> np.ndarray:
    """`told(rows)`: what the sublayer for z adds, or None."""

    def sublayer(name: str, f, x: np.ndarray) -> np.ndarray:
        def normed(y: np.ndarray) -> np.ndarray:
            return np.stack([layer_norm(params[name], row) for row in y])

        return x + f(normed(x)) if norm == "pre" else normed(x + f(x))

    def self_attention(x: np.ndarray) -> np.ndarray:
        weights = params["self_attention"]
        projected = x @ weights["input"]["kernel"]
        parts = (projected[:, :H], projected[:, H : 2 * H], projected[:, 2 * H :])
        return numpy_attention(*parts, seen) @ weights["output"]["kernel"]

    def feed_forward(x: np.ndarray) -> np.ndarray:
        widened = x @ params["widen"]["kernel"] + params["widen"]["bias"]
        return np.maximum(widened, 0) @ params["narrow"]["kernel"] + params["narrow"]["bias"]

    rows = sublayer("attention_norm", self_attention, rows)
    if told is not None and norm == "pre" and "latent_norm" not in params:
        rows = rows + told(params, rows)  # a vector: nothing is asked of the tokens
    elif told is not None:
        rows = sublayer("latent_norm", lambda x: told(params, x), rows)
    return sublayer("feed_forward_norm", feed_forward, rows)


def of_vector(vector):
    return lambda params, rows: np.tile(vector @ params["latent"]["kernel"], (len(rows), 1))


def of_set(vectors):
    def told(params, rows):
        weights = params["cross_attention"]
        memory = vectors @ weights["memory"]["kernel"]
        queries = rows @ weights["query"]["kernel"]
        out = numpy_attention(queries, memory[:, :H], memory[:, H:], lambda t: range(len(memory)))
        return out @ weights["output"]["kernel"]

    return told


def numpy_transformer(params, embedded, told, norm: str, seen) -> np.ndarray:
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    rows = math.sqrt(EMBED) * np.asarray(embedded, np.float64) @ params["widen"]["kernel"]
    for t in range(len(rows)):
        for pair in range(H // 2):
            angle = t / 10000 ** (2 * pair / H)
            place = [math.sin(angle), math.cos(angle)]
            rows[t, 2 * pair : 2 * pair + 2] += (
                params["position_table"][t, 2 * pair : 2 * pair + 2]
                if "position_table" in params
                else place
            )
    for name in sorted(params):
        if name.startswith("blocks_"):
            rows = numpy_block(params[name], rows, told, norm, seen)
    if norm == "pre":
        rows = np.stack([layer_norm(params["final_norm"], row) for row in rows])
    return rows


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_an_encoder_is_the_numpy_one(norm):
    module = transformer(norm)
    params = random_params(module, None)
    found = jax.jit(lambda x, mask: module.apply(params, x, None, None, mask=mask))(EMBEDDED, MASK)
    for b, length in enumerate(MASK.sum(1)):
        expected = numpy_transformer(params, EMBEDDED[b], None, norm, lambda t, n=length: range(n))
        np.testing.assert_allclose(found[b, :length], expected[:length], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("z", "norm", "positions", "layers"),
    [
        (VECTOR, "pre", "learned", 1),
        (VECTOR, "post", "sinusoidal", 1),
        (SET, "pre", "sinusoidal", 2),
        (SET, "post", "sinusoidal", 1),
    ],
    ids=["vector-pre", "vector-post", "set-pre", "set-post"],
)
def test_a_decoder_is_the_numpy_one_whole_and_token_by_token(z, norm, positions, layers):
    module = transformer(norm, positions=positions, layers=layers)
    params = random_params(module, z)
    found = jax.jit(lambda x, z: module.apply(params, x, z, None, causal=True))(EMBEDDED, z)
    for b in range(B):
        vectors = np.asarray(SET.vectors[b], np.float64)[PRESENT[b]]
        told = of_vector(np.asarray(VECTOR[b], np.float64)) if z is VECTOR else of_set(vectors)
        expected = numpy_transformer(params, EMBEDDED[b], told, norm, lambda t: range(t + 1))
        np.testing.assert_allclose(found[b], expected, rtol=1e-4, atol=1e-5)

    # With the cache, which has room for more tokens than are read.
    carry = module.apply(params, z, T + 2, method="start")
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(carry))
    step = jax.jit(lambda carry, x: module.apply(params, carry, x, method="step"))
    for t in range(T):
        carry, hidden = step(carry, EMBEDDED[:, t])
        np.testing.assert_allclose(hidden, found[:, t], rtol=1e-4, atol=1e-5)


def test_no_token_changes_what_comes_before_it():
    module = transformer()
    params = random_params(module, VECTOR)
    run = jax.jit(lambda x: module.apply(params, x, VECTOR, None, causal=True))
    plain = np.asarray(run(EMBEDDED))
    for t in (1, 3):
        other = np.asarray(run(EMBEDDED.at[:, t].add(1.0)))
        np.testing.assert_array_equal(other[:, :t], plain[:, :t])
        assert np.all(np.any(other[:, t:] != plain[:, t:], axis=-1))


@pytest.mark.parametrize("size", [4, 7])
def test_sinusoidal_positions(size):
    found = sinusoidal_positions(jnp.arange(60), size)
    assert found.shape == (60, size)
    for t in (0, 1, 17, 59):
        for i in range(size):
            wave = math.cos if i % 2 else math.sin
            expected = wave(t / 10000 ** (2 * (i // 2) / size))
            np.testing.assert_allclose(found[t, i], expected, atol=1e-5)


def test_learned_positions_end_somewhere():
    module = transformer(positions="learned")
    params = random_params(module, VECTOR)
    assert params["params"]["position_table"].shape == (7, H)
    long = jnp.zeros((B, 8, EMBED))
    with pytest.raises(UserError, match="8 tokens are more than model.max_positions = 7"):
        module.apply(params, long, VECTOR, None)
    with pytest.raises(UserError, match="9 tokens are more than model.max_positions = 7"):
        module.apply(params, VECTOR, 9, method="start")


def test_a_set_has_no_order_and_what_is_absent_does_not_matter():
    module = transformer()
    params = random_params(module, SET)

    def total(params, z):
        out = module.apply(params, EMBEDDED, z, None, causal=True)
        return jnp.sum(jnp.sin(out)), out

    run = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
    (_, out), grads = run(params, SET)
    order = np.array([2, 0, 3, 1])
    (_, permuted), _ = run(
        params, SET._replace(vectors=SET.vectors[:, order], log_weights=SET.log_weights[:, order])
    )
    np.testing.assert_allclose(permuted, out, rtol=1e-5, atol=1e-6)
    assert np.any(SET.vectors[:, order] != SET.vectors)
    for junk in (jnp.nan, jnp.inf, 3.0):
        other = SET._replace(vectors=jnp.where(PRESENT[..., None], SET.vectors, junk))
        (_, same), same_grads = run(params, other)
        np.testing.assert_array_equal(same, out)
        jax.tree.map(np.testing.assert_array_equal, same_grads[0], grads[0])
    assert np.all(grads[1].vectors[~PRESENT] == 0) and np.all(grads[1].vectors[PRESENT] != 0)


def test_every_sublayer_is_dropped_by_noise_of_its_own(monkeypatch):
    """Which keys are used, at which rates, on which arrays."""
    used, sentences = [], jnp.asarray([4, 9, 2])

    def recorded(x, rate, *, key, index):
        np.testing.assert_array_equal(index, sentences)
        used.append((x.shape, rate, tuple(np.asarray(jax.random.key_data(key)).tolist())))
        return x

    monkeypatch.setattr("jvae.layers.transformer.dropout", recorded)
    module = transformer(layers=2)
    for z, sublayers in ((VECTOR, (0, 2)), (SET, (0, 1, 2))):
        params = random_params(module, z)
        plain = module.apply(params, EMBEDDED, z, None, causal=True)
        used.clear()
        noisy = module.apply(params, EMBEDDED, z, (KEY, sentences), causal=True)
        expected = [((B, T, H), 0.3, stream(KEY, Stream.EMBEDDING_DROPOUT))]
        expected += [
            ((B, T, H), 0.2, stream(KEY, Stream.OUTPUT_DROPOUT, 3 * layer + sublayer))
            for layer in range(2)
            for sublayer in sublayers
        ]
        keys = [tuple(np.asarray(jax.random.key_data(key)).tolist()) for *_, key in expected]
        rest = [shape_and_rate for *shape_and_rate, _ in expected]
        assert used == [(*known, key) for known, key in zip(rest, keys, strict=True)]
        # Nothing was dropped, and nothing else tells training from evaluation.
        np.testing.assert_array_equal(noisy, plain)


def test_bfloat16_rounds_factors_only():
    params = random_params(transformer(), SET)
    exact, rounded = (
        transformer(dtype=dtype).apply(params, EMBEDDED, SET, None, causal=True)
        for dtype in (None, jnp.bfloat16)
    )
    assert rounded.dtype == jnp.float32
    np.testing.assert_allclose(rounded, exact, atol=0.05)
    assert np.any(rounded != exact)


def test_denoising_attention_is_told_weights_and_variances_also_token_by_token():
    log_vars = SET.vectors / 2
    module, z = transformer(attention="denoising"), SET._replace(log_vars=log_vars)
    params = random_params(module, z)
    run = jax.jit(lambda z: module.apply(params, EMBEDDED, z, None, causal=True))
    found, weights = run(z), jnp.where(PRESENT, SET.log_weights * 2, -jnp.inf)
    assert np.any(run(z._replace(log_weights=weights)) != found)
    assert np.any(run(z._replace(log_vars=log_vars + 1)) != found)
    step = jax.jit(lambda carry, x: module.apply(params, carry, x, method="step"))
    carry = module.apply(params, z, T, method="start")
    for t in range(T):
        carry, hidden = step(carry, EMBEDDED[:, t])
        np.testing.assert_allclose(hidden, found[:, t], rtol=1e-4, atol=1e-5)
