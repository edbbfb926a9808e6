"""The Transformer encoder: what it makes of its hidden states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.distributions import Delta
from jvae.encoders import POOLINGS, transformer_encoder
from jvae.posteriors import TokenFamily
from tests.conftest import LATENT, VOCAB, make_batch

SIZES = {
    "vocab_size": VOCAB,
    "latent_size": LATENT,
    "embed_size": 4,
    "hidden_size": 4,
    "layers": 1,
    "heads": 2,
}
BATCH = make_batch(4, 6)
T = BATCH.x.targets.shape[1]
KEY = jax.random.key(2)


def random_params(encoder, batch=BATCH):
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(encoder.init, KEY, batch)
    return jax.tree.map(lambda s: jnp.asarray(rng.uniform(-0.8, 0.8, s.shape), s.dtype), shapes)


def hidden_states(**options):
    """What a `TokenFamily` is given, and the parameters."""
    family = TokenFamily(lambda hidden, mask, *, train: (hidden, mask, train))
    encoder = transformer_encoder(**SIZES, family=family, **options)
    params = random_params(encoder)
    return encoder, params


def test_a_family_of_tokens_is_given_hidden_states_mask_and_mode():
    encoder, params = hidden_states()
    assert "head" not in params
    hidden, mask, train = encoder.apply(params, BATCH, key=KEY, train=False)
    assert hidden.shape == (*BATCH.x.targets.shape, 4) and train is False
    np.testing.assert_array_equal(mask, BATCH.x.mask)
    noisy, _, train = encoder.apply(params, BATCH, key=KEY, train=True)
    assert train is True
    assert np.all(np.any(noisy != hidden, axis=(1, 2)))
    # What it reads: the words and `</s>`, not `<s>`; padding does not matter.
    tokens = BATCH.x.ids.at[:, 0].set(7)
    other = jnp.where(jnp.arange(T + 1) <= BATCH.x.lengths[:, None], tokens, 9)
    same, _, _ = encoder.apply(
        params, BATCH.replace(x=jvae.Tokens(other, BATCH.x.lengths)), key=KEY, train=False
    )
    mask = np.asarray(BATCH.x.mask)
    np.testing.assert_allclose(same[mask], hidden[mask], rtol=1e-5, atol=1e-6)
    other = BATCH.x.ids.at[:, 1].set(BATCH.x.ids[:, 1] % 8 + 4)
    assert np.any(other != BATCH.x.ids)
    changed, _, _ = encoder.apply(
        params, BATCH.replace(x=jvae.Tokens(other, BATCH.x.lengths)), key=KEY, train=False
    )
    assert np.all(np.any(changed != hidden, axis=(1, 2)))  # every token sees every other


def test_noise_belongs_to_the_sentence():
    encoder, params = hidden_states(dropout_in=0.5, dropout_out=0.5)
    run = jax.jit(lambda batch: encoder.apply(params, batch, key=KEY, train=True)[0])
    batch = BATCH.replace(index=jnp.asarray([3, 1, 8, 2]))
    mask, hidden = np.asarray(BATCH.x.mask), run(batch)
    turned = run(jax.tree.map(lambda leaf: leaf[::-1], batch))[::-1]
    np.testing.assert_allclose(turned[mask], hidden[mask], rtol=1e-5, atol=1e-6)
    wide = run(batch.replace(x=batch.x.resized(T + 2)))[:, :T]
    np.testing.assert_allclose(wide[mask], hidden[mask], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("pooling", "point"), [("mean", False), ("max", False), ("first", True)], ids=POOLINGS
)
def test_one_vector_is_a_linear_map_of_what_is_pooled(pooling, point):
    encoder = transformer_encoder(**SIZES, pooling=pooling, point=point, norm="post")
    params = random_params(encoder)
    of_tokens, _ = hidden_states(norm="post")
    hidden, _, _ = of_tokens.apply(params, BATCH, key=KEY, train=False)
    pool = {
        "mean": lambda rows: rows.mean(0),
        "max": lambda rows: rows.max(0),
        "first": lambda rows: rows[0],
    }[pooling]
    rows = [
        pool(np.asarray(h, np.float64)[:n]) for h, n in zip(hidden, BATCH.x.lengths, strict=True)
    ]
    outputs = np.stack(rows) @ np.asarray(params["head"]["kernel"], np.float64)
    q = encoder.apply(params, BATCH, key=KEY, train=False)
    assert isinstance(q, Delta) == point
    np.testing.assert_allclose(q.mean, outputs[:, :LATENT], rtol=1e-4, atol=1e-5)
    if not point:
        np.testing.assert_allclose(q.log_var, outputs[:, LATENT:], rtol=1e-4, atol=1e-5)
    # The same of the embeddings.
    embedded = params["embedding"]["embedding"][BATCH.x.targets]
    again = encoder.from_embeddings(params, embedded, BATCH.x.lengths)
    np.testing.assert_allclose(again.mean, q.mean, rtol=1e-5, atol=1e-6)


def test_mean_and_max_do_not_ask_for_the_order():
    """Nor what padding holds; the words' positions do, in the blocks before."""
    rng = np.random.default_rng(5)
    hidden, mask = rng.normal(size=(*BATCH.x.targets.shape, 4)), np.asarray(BATCH.x.mask)
    other = rng.normal(size=hidden.shape)
    for row, n in enumerate(BATCH.x.lengths):
        other[row, :n] = np.roll(hidden[row, :n], 1, axis=0)
    for pooling, same in (("mean", True), ("max", True), ("first", False)):
        before, after = (POOLINGS[pooling](jnp.asarray(h), mask) for h in (hidden, other))
        assert np.allclose(after, before, rtol=1e-5, atol=1e-6) == same
