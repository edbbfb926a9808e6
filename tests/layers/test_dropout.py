"""Dropout: its rate, its mean, and that its noise belongs to the sentence."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.batch import BOS, UNK
from jvae.layers import dropout, word_dropout
from tests.conftest import LATENT, make_batch, make_model

KEY = jax.random.key(11)
MANY = jnp.arange(64)


@partial(jax.jit, static_argnames=("rate", "steps", "features"))
def masks(rate: float, index, steps: int = 50, features: int = 31):
    """What dropout makes of ones, `[B, T, F]`; F is no multiple of the four draws per word."""
    return dropout(jnp.ones((len(index), steps, features)), rate, key=KEY, index=index)


@partial(jax.jit, static_argnames="rate")
def words(rate: float, tokens, index):
    return word_dropout(tokens, rate, key=KEY, index=index)


@pytest.mark.parametrize("rate", [0.5, 0.3])
def test_the_rate_and_the_mean(rate):
    mask = np.asarray(masks(rate, MANY), np.float64)
    real = round(256 * rate) / 256
    assert abs(real - rate) <= 1 / 512
    dropped = mask == 0
    assert abs(dropped.mean() - real) < 4 * np.sqrt(real * (1 - real) / mask.size)
    np.testing.assert_allclose(mask[~dropped], 1 / (1 - real), rtol=1e-6)
    assert abs(mask.mean() - 1) < 4 * np.sqrt(real / (1 - real) / mask.size)


def test_entries_are_independent():
    """Also the four draws that share a random word, positions, and neighbouring sentences."""
    dropped = np.asarray(masks(0.5, MANY) == 0, np.float64) - 0.5
    for axis in range(3):
        for lag in (1, 2, 3, 4):
            ahead = np.roll(dropped, -lag, axis=axis)
            correlation = np.mean(4 * dropped * ahead)
            assert abs(correlation) < 4 / np.sqrt(dropped.size), (axis, lag)


def test_the_mask_depends_on_the_sentence_alone():
    index = jnp.asarray([4, 9, 2, 7])
    mask = masks(0.5, index, 8, 5)
    # Not on the position in the batch, nor on who else is in it.
    np.testing.assert_array_equal(masks(0.5, index[::-1], 8, 5), mask[::-1])
    other = masks(0.5, jnp.asarray([4, 1, 2, 3]), 8, 5)
    np.testing.assert_array_equal(other[::2], mask[::2])
    assert not np.array_equal(other[1], mask[1])
    # Nor on the padding.
    np.testing.assert_array_equal(masks(0.5, index, 13, 5)[:, :8], mask)


def test_rate_zero_is_the_identity():
    x = jnp.ones((2, 3, 4))
    assert dropout(x, 0.0, key=KEY, index=jnp.arange(2)) is x
    tokens = jnp.ones((2, 3), jnp.int32)
    assert word_dropout(tokens, 0.0, key=KEY, index=jnp.arange(2)) is tokens


def test_a_rate_just_below_one_is_finite():
    x = jnp.ones((2, 3, 4))
    assert np.all(np.isfinite(dropout(x, 0.999, key=KEY, index=jnp.arange(2))))


def test_word_dropout_replaces_words_by_unk_at_its_rate_but_never_the_start():
    tokens = jnp.full((400, 41), 7, jnp.int32).at[:, 0].set(BOS)
    replaced = np.asarray(words(0.3, tokens, jnp.arange(400)))
    np.testing.assert_array_equal(replaced[:, 0], BOS)
    assert set(np.unique(replaced[:, 1:])) == {7, UNK}
    share, count = np.mean(replaced[:, 1:] == UNK), replaced[:, 1:].size
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / count)
    # From the sentence's own number, whatever the padding.
    shorter = words(0.3, tokens[:2, :20], jnp.asarray([5, 3]))
    np.testing.assert_array_equal(shorter, replaced[[5, 3], :20])


def test_word_dropout_at_rate_one_leaves_only_the_start():
    batch = make_batch()
    replaced = np.asarray(words(1.0, batch.x.inputs, batch.index))
    np.testing.assert_array_equal(replaced[:, 0], BOS)
    np.testing.assert_array_equal(replaced[:, 1:], UNK)


def test_an_inputless_decoder_and_that_evaluation_ignores_every_rate():
    batch = make_batch(4, 6)
    rng = np.random.default_rng(0)
    z = jnp.asarray(rng.normal(size=(4, LATENT)), jnp.float32)
    plain = make_model(dropout_in=0.0, dropout_out=0.0)
    inputless = make_model(dropout_in=0.0, dropout_out=0.0, word_dropout=1.0)
    noisy = make_model(dropout_in=0.5, dropout_out=0.5, word_dropout=0.5)
    shapes = jax.eval_shape(plain.decoder.init, KEY, z, batch)
    params = jax.tree.map(lambda s: jnp.asarray(rng.uniform(-0.8, 0.8, s.shape), s.dtype), shapes)

    def log_prob(model: jvae.VAE, train: bool):
        key = KEY if train else None
        run = jax.jit(lambda: model.decoder.log_prob(params, z, batch, key=key, train=train))
        return np.asarray(run())

    # Inputless: what step() says after <s> <unk> <unk> .., whatever the words were.
    carry, expected = plain.decoder.steps.start(params, z, None, 6), np.zeros(4)
    step = jax.jit(plain.decoder.steps.step)
    for t in range(6):
        token = jnp.full(4, BOS if t == 0 else UNK, jnp.int32)
        carry, logits = step(params, carry, token)
        chosen = jax.nn.log_softmax(logits)[np.arange(4), batch.x.targets[:, t]]
        expected += np.where(batch.x.mask[:, t], chosen, 0)
    np.testing.assert_allclose(log_prob(inputless, train=True), expected, atol=1e-5)

    evaluated = log_prob(plain, train=False)
    np.testing.assert_allclose(log_prob(plain, train=True), evaluated, atol=1e-5)
    np.testing.assert_array_equal(log_prob(inputless, train=False), evaluated)
    np.testing.assert_array_equal(log_prob(noisy, train=False), evaluated)
    assert np.all(np.abs(log_prob(inputless, train=True) - evaluated) > 1e-3)
    assert np.all(np.abs(log_prob(noisy, train=True) - evaluated) > 1e-3)
