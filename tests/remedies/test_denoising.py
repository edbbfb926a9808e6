"""Damage to the encoder's input: word by word in Python, at its rate, in training only."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.batch import BOS, EOS, UNK
from jvae.distributions import Delta, DiagonalGaussian
from jvae.model import Decoder, Encoder
from jvae.random import Stream, stream
from jvae.remedies import NOISES, with_denoising
from tests.conftest import make_batch

KEY = jax.random.key(2)
# An "encoder" whose posterior is what it was given to read.
READER = Encoder(lambda *_: {}, lambda params, batch, context, *, key, train: batch)


def python_noise(name: str, words: list[int], draws: np.ndarray, rate: float) -> list[int]:
    """`draws[0]` belongs to `<s>`, `draws[i]` to word i from 1 on."""
    if name == "drop":
        return [word for i, word in enumerate(words, 1) if draws[i] >= rate]
    if name == "mask":
        return [word if draws[i] >= rate else UNK for i, word in enumerate(words, 1)]
    words, i = list(words), 2 if draws[0] < 0.5 else 1
    while i + 1 <= len(words):
        if draws[i] < rate:
            words[i - 1], words[i] = words[i], words[i - 1]
        i += 2
    return words


@pytest.mark.parametrize("name", NOISES)
def test_the_noise_is_the_python_one(name):
    batch = make_batch(60, 9)
    draws = np.random.default_rng(1).uniform(size=batch.x.ids.shape).astype(np.float32)
    noised = jax.jit(partial(NOISES[name], rate=0.4))(batch.x, draws)
    changed = 0
    for row in range(60):
        length = int(batch.x.lengths[row])
        words = np.asarray(batch.x.ids[row, 1:length]).tolist()
        expected = python_noise(name, words, draws[row], 0.4)
        changed += expected != words
        padding = [0] * (batch.x.ids.shape[1] - 2 - len(expected))
        assert np.asarray(noised.ids[row]).tolist() == [BOS, *expected, EOS, *padding]
        assert noised.lengths[row] == len(expected) + 1
        if name == "swap":
            assert sorted(expected) == sorted(words)
    assert changed > 30


@pytest.mark.parametrize("name", NOISES)
def test_its_rate_and_that_the_noise_belongs_to_the_sentence(name):
    number, width, rate = 400, 41, 0.3
    words = jnp.arange(4, 4 + width - 1)  # all different: a moved word is seen
    tokens = jnp.tile(jnp.concatenate([jnp.array([BOS]), words, jnp.array([EOS])]), (number, 1))
    batch = jvae.text_batch(tokens, jnp.full(number, width), condition=jvae.Labels(tokens[:, 0]))
    read = jax.jit(partial(with_denoising(READER, NOISES[name], rate).apply, {}, train=True))
    read_batch = read(batch, None, key=KEY)
    noised = read_batch.x
    for field in ("index", "weight", "condition"):  # the encoder's own batch, but for its words
        kept, given = getattr(read_batch, field), getattr(batch, field)
        jax.tree.map(np.testing.assert_array_equal, kept, given)
    if name == "drop":
        hits = width - np.asarray(noised.lengths)
    else:
        hits = np.sum(np.asarray(noised.ids != tokens), axis=1)
    # Swapping: each pair counts twice, and in half of the cases the two ends have no partner.
    chances = {"drop": 40, "mask": 40, "swap": 39}[name]
    error = np.sqrt((2 if name == "swap" else 1) * rate * (1 - rate) / (chances * number))
    assert abs(hits.mean() / chances - rate) < 4 * error
    assert len(np.unique(noised.ids, axis=0)) > 0.9 * number  # neighbours differ

    again = jax.tree.map(lambda field: field[jnp.array([7, 3])], batch)
    wide = again.replace(x=again.x.resized(width + 5))
    padded = read(wide, None, key=KEY).x
    np.testing.assert_array_equal(padded.ids[:, :-5], noised.ids[jnp.array([7, 3])])
    np.testing.assert_array_equal(padded.lengths, noised.lengths[jnp.array([7, 3])])
    assert not np.array_equal(read(batch, None, key=jax.random.key(9)).x.ids, noised.ids)


@pytest.mark.parametrize("name", NOISES)
def test_rate_zero_changes_nothing_and_rate_one_leaves_a_sentence(name):
    batch = make_batch(8, 6)

    def read(rate: float) -> jvae.Batch:
        apply = with_denoising(READER, NOISES[name], rate).apply
        return apply({}, batch, None, key=KEY, train=True)

    jax.tree.map(np.testing.assert_array_equal, read(0.0), batch)
    worst = read(1.0).x
    np.testing.assert_array_equal(worst.ids[:, 0], BOS)
    np.testing.assert_array_equal(worst.ids[np.arange(8), worst.lengths], EOS)
    if name == "drop":
        np.testing.assert_array_equal(worst.lengths, 1)


@pytest.mark.parametrize("point", [False, True], ids=["vae", "ae"])
def test_the_encoder_reads_noise_in_training_only_and_the_decoder_never(point):
    """A model whose z is what the encoder reads, and whose likelihood what the decoder reads."""
    batch = make_batch(4, 6)

    def posterior(params, batch, context, *, key, train):
        read = batch.x.ids.astype(jnp.float32)
        return Delta(read) if point else DiagonalGaussian(read, jnp.full_like(read, -50.0))

    def log_prob(params, z, batch, context, *, key, train):
        return jnp.sum((100 * z + batch.x.ids) * 3 ** jnp.arange(z.shape[1]), axis=1)

    encoder = Encoder(lambda *_: {}, posterior)
    noisy = with_denoising(encoder, NOISES["swap"], 0.9)
    decoder = Decoder(lambda *_: {}, log_prob)
    size = batch.x.ids.shape[1]
    params = {"encoder": {}, "decoder": {}, "prior": {}}

    def log_likelihood(encoder, train):
        model = jvae.VAE(encoder, decoder, jvae.standard_normal(latent_size=size))
        return np.asarray(jvae.elbo(model, params, batch, key=KEY, train=train).log_likelihood)

    clean = log_likelihood(encoder, False)
    np.testing.assert_array_equal(log_likelihood(noisy, False), clean)
    read = noisy.apply({}, batch, None, key=stream(KEY, Stream.ENCODER), train=True).mean
    assert np.any(read != batch.x.ids)
    difference = np.sum((100 * (read - batch.x.ids)) * 3 ** np.arange(size), axis=1)
    np.testing.assert_allclose(log_likelihood(noisy, True), clean + difference, rtol=1e-5)
