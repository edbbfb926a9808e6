"""Observations and batches: what is predicted, how it is padded, and in which arrays it lives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.batch import BOS, EOS, PAD, resized, size_of
from tests.conftest import make_sentences

IDS, LENGTHS = make_sentences(5, 6, seed=3)
COUNTS = jvae.Counts(
    np.array([[3, 7, 0], [5, 0, 0]], np.int32), np.array([[2.0, 1, 0], [4, 0, 0]], np.float32)
)
ARRAYS = {"numpy": np.asarray, "jax": jnp.asarray}


def in_arrays(x, kind: str):
    return jax.tree.map(ARRAYS[kind], x)


def kinds(x) -> set[type]:
    return {
        np.ndarray if isinstance(leaf, np.ndarray) else jax.Array for leaf in jax.tree.leaves(x)
    }


def test_tokens_are_read_and_predicted_one_place_apart():
    x = jvae.Tokens(jnp.asarray(IDS), jnp.asarray(LENGTHS))
    np.testing.assert_array_equal(x.inputs, IDS[:, :-1])
    np.testing.assert_array_equal(x.targets, IDS[:, 1:])
    np.testing.assert_array_equal(x.size, LENGTHS)
    assert x.mask.dtype == bool
    for row, length in enumerate(LENGTHS):
        real = np.asarray(x.targets)[row][np.asarray(x.mask)[row]]
        np.testing.assert_array_equal(real, IDS[row, 1 : length + 1])
        assert real[-1] == EOS


@pytest.mark.parametrize("kind", ARRAYS)
def test_resized_tokens_are_the_same_sentences(kind):
    x = in_arrays(jvae.Tokens(IDS, LENGTHS), kind)
    wide, cut = x.resized(9), x.resized(4)
    assert wide.ids.shape == (5, 10) and wide.inputs.shape == wide.mask.shape == (5, 9)
    np.testing.assert_array_equal(wide.ids[:, :7], IDS)
    assert np.all(np.asarray(wide.ids[:, 7:]) == PAD)
    np.testing.assert_array_equal(cut.ids, IDS[:, :5])
    for other in (wide, cut, wide.resized(6)):
        np.testing.assert_array_equal(other.lengths, LENGTHS)
        assert kinds(other) == kinds(x) and other.ids.dtype == x.ids.dtype
    np.testing.assert_array_equal(wide.resized(6).ids, IDS)


@pytest.mark.parametrize("kind", ARRAYS)
def test_counts_are_dense_once_and_padding_adds_nothing(kind):
    x = in_arrays(COUNTS, kind)
    dense = np.zeros((2, 9), np.float32)
    dense[0, [3, 7]], dense[1, 5] = [2, 1], 4
    np.testing.assert_array_equal(x.size, [3, 4])
    for other in (x, x.resized(5), x.resized(2)):
        assert kinds(other) == kinds(x)
        np.testing.assert_array_equal(other.dense(9), dense)
        np.testing.assert_array_equal(other.size, [3, 4])
        np.testing.assert_array_equal(jax.jit(lambda x: x.dense(9))(other), dense)
    assert x.resized(5).ids.shape == x.resized(5).counts.shape == (2, 5)


def test_pixels_and_labels_have_one_size():
    pixels = jvae.Pixels(jnp.zeros((3, 4, 5, 2)))
    np.testing.assert_array_equal(pixels.size, [40, 40, 40])
    assert pixels.resized(99) is pixels
    np.testing.assert_array_equal(jax.jit(lambda x: x.size)(pixels), [40, 40, 40])
    labels = jvae.Labels(jnp.asarray([2, 0, 1]))
    np.testing.assert_array_equal(labels.size, [1, 1, 1])
    assert labels.resized(99) is labels


@pytest.mark.parametrize("kind", ARRAYS)
def test_a_dictionary_of_observations_is_resized_and_counted_part_by_part(kind):
    parts = {"text": jvae.Tokens(IDS[:2], LENGTHS[:2]), "words": COUNTS}
    x = in_arrays(parts | {"nested": {"label": jvae.Labels(np.array([1, 0]))}}, kind)
    wide = resized(x, 8)
    assert wide["text"].ids.shape == (2, 9) and wide["words"].ids.shape == (2, 8)
    assert kinds(wide) == kinds(x)
    np.testing.assert_array_equal(wide["nested"]["label"].classes, [1, 0])
    np.testing.assert_array_equal(size_of(x), LENGTHS[:2] + [3, 4] + 1)
    np.testing.assert_array_equal(size_of(wide), size_of(x))


def test_a_text_batch_counts_tokens_up_to_the_padding():
    batch = jvae.text_batch(IDS.tolist())
    np.testing.assert_array_equal(batch.x.ids, IDS)
    np.testing.assert_array_equal(batch.x.lengths, LENGTHS)
    np.testing.assert_array_equal(batch.index, np.arange(5))
    np.testing.assert_array_equal(batch.weight, np.ones(5))
    assert batch.x.ids.dtype == batch.x.lengths.dtype == batch.index.dtype == jnp.int32
    assert batch.condition is None and batch.rows == 5
    # A given length counts, also where <pad> is a word.
    given = jvae.text_batch([[BOS, PAD, 5, EOS]], [3], condition=jvae.Labels(jnp.asarray([1])))
    np.testing.assert_array_equal(given.x.lengths, [3])
    np.testing.assert_array_equal(given.condition.classes, [1])


def test_a_batch_is_a_frozen_tree_of_its_fields():
    batch = jvae.text_batch(IDS, condition=COUNTS)
    moved = batch.replace(index=batch.index + 5)
    np.testing.assert_array_equal(moved.index, np.arange(5, 10))
    assert moved.x is batch.x and batch.index[0] == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.x = None
    assert len(jax.tree.leaves(batch)) == 6
    alone = jax.tree.map(lambda leaf: leaf[:1], batch)
    assert isinstance(alone, jvae.Batch) and isinstance(alone.condition, jvae.Counts)
    assert alone.rows == 1
    assert jax.jit(lambda batch: batch.index * batch.rows)(batch)[1] == 5
