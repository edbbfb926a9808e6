"""Named streams: no two draw the same, and no key is used twice."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.errors import KeyReuseError

import jvae
from jvae.objectives import bound_objective
from jvae.random import Stream, example_keys, sample_keys, stream
from jvae.remedies import NOISES, with_adversary, with_bag_of_words, with_denoising, with_mmd
from tests.conftest import LATENT, VOCAB, make_batch, make_model

KEY = jax.random.key(5)


def bits(keys) -> np.ndarray:
    return np.asarray(jax.random.key_data(keys))


def test_numbers_are_never_changed():
    """Part of every run's reproducibility: append here, never edit."""
    numbers = {
        "PARAMS": 0,
        "TRAINING": 1,
        "INNER_LOOP": 2,
        "INNER_BATCH": 3,
        "LATENT": 4,
        "ENCODER": 5,
        "DECODER": 6,
        "EMBEDDING_DROPOUT": 7,
        "OUTPUT_DROPOUT": 8,
        "WORD_DROPOUT": 9,
        "EVALUATION": 10,
        "SHUFFLED": 11,
        "PRIOR": 12,
        "GENERATION": 13,
        "DENOISING": 14,
        "AGGREGATE": 15,
        "VARIANCE_DROPOUT": 16,
        "REFINEMENT": 18,
        "NVIB_LAYER": 19,
        "ADVERSARY": 20,
        "CONDITIONER": 22,
        "ESTIMATOR": 23,
        "OBJECTIVE": 24,
    }
    assert (
        numbers.items() <= {name: int(value) for name, value in Stream.__members__.items()}.items()
    )
    assert len(set(Stream)) == len(Stream.__members__)  # no aliases
    assert not {17, 21} & set(Stream)  # of runs of the past


def test_streams_and_steps_differ_from_each_other():
    steps = jnp.arange(20)
    keys = jnp.stack([jax.vmap(lambda s, n=name: stream(KEY, n, s))(steps) for name in Stream])
    assert len(np.unique(bits(keys).reshape(-1, 2), axis=0)) == len(Stream) * 20
    assert not np.array_equal(bits(stream(KEY, Stream.LATENT)), bits(KEY))


def test_a_stream_is_two_folds():
    expected = jax.random.fold_in(jax.random.fold_in(KEY, 9), 7)
    np.testing.assert_array_equal(bits(stream(KEY, Stream.WORD_DROPOUT, 7)), bits(expected))
    traced = jax.jit(lambda step: stream(KEY, Stream.WORD_DROPOUT, step))(jnp.asarray(7))
    np.testing.assert_array_equal(bits(traced), bits(expected))


def test_keys_by_sentence_and_sample_are_scalar_folds():
    index, sample = jnp.asarray([3, 0, 100_000]), jnp.asarray([0, 2, 5, 1])
    keys = example_keys(KEY, index)
    assert keys.shape == (3,)
    by_sample = sample_keys(keys, sample)
    assert by_sample.shape == (4, 3)
    for b, number in enumerate([3, 0, 100_000]):
        sentence = jax.random.fold_in(KEY, number)
        np.testing.assert_array_equal(bits(keys[b]), bits(sentence))
        for s, count in enumerate([0, 2, 5, 1]):
            expected = jax.random.fold_in(sentence, count)
            np.testing.assert_array_equal(bits(by_sample[s, b]), bits(expected))


def test_neighbours_are_independent():
    """Sentences with neighbouring numbers, and neighbouring samples, draw unrelated noise."""

    @jax.jit
    def draw():
        keys = sample_keys(example_keys(KEY, jnp.arange(200)), jnp.arange(100))
        return jax.vmap(jax.vmap(jax.random.normal))(keys)

    noise = np.asarray(draw(), np.float64)
    assert len(np.unique(noise)) > 0.99 * noise.size
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size)
    for axis in range(2):
        correlation = np.mean(noise * np.roll(noise, 1, axis=axis))
        assert abs(correlation) < 4 / np.sqrt(noise.size)
    assert (
        abs(np.mean(noise[:, :100] * noise[:, :100].T))
        < 4 / np.sqrt(noise[:, :100].size / 2) + 1 / 100
    )


def test_no_key_is_used_twice():
    """JAX's own checker, which reads the traced program."""
    model, batch = make_model(word_dropout=0.3), make_batch(2, 4)
    model = model._replace(encoder=with_denoising(model.encoder, NOISES["swap"]))
    params = jax.eval_shape(lambda key: jvae.init(model, batch, key=key), KEY)
    objective = with_bag_of_words(
        bound_objective(model, jvae.negative_elbo),
        weight=1.0,
        vocab_size=VOCAB,
        latent_size=LATENT,
    )
    objective = with_mmd(with_adversary(objective, model, LATENT), model, 1.0)
    groups = jax.eval_shape(objective.init, KEY, params)
    with jax.debug_key_reuse(True):
        with pytest.raises(KeyReuseError):
            jax.jit(lambda key: jax.random.normal(key) + jax.random.uniform(key)).trace(KEY)
        jax.jit(lambda key: jvae.init(model, batch, key=key)).trace(KEY)
        jax.jit(partial(jvae.elbo, model, num_samples=2, train=True)).trace(params, batch, key=KEY)
        jax.jit(partial(jvae.elbo, model, num_samples=1, train=True)).trace(params, batch, key=KEY)
        jax.jit(partial(jvae.iw_log_likelihood, model, num_samples=3, chunk_size=2)).trace(
            params, batch, key=KEY
        )
        jax.jit(objective.init).trace(KEY, params)
        jax.jit(partial(objective.apply, scheduled={"kl_weight": 1.0})).trace(
            params | groups.params, groups.carried, batch, key=KEY
        )
