"""Buckets against brute force, and epochs that visit every sentence once."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jvae.data.batching import (
    batches,
    choose_buckets,
    corpus_plan,
    epoch_plan,
    take_batch,
)
from tests.conftest import make_sentences


def padded_tokens(lengths, widths) -> int:
    return sum(min(width for width in widths if width >= length) for length in lengths)


def random_lengths(seed: int, number: int = 40, longest: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, longest + 1, number).astype(np.int32)


@pytest.mark.parametrize("max_buckets", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_buckets_waste_least(seed, max_buckets):
    """Against every set of widths of at most that many."""
    lengths = random_lengths(seed, number=30 if seed % 2 else 7)
    values = sorted(set(lengths.tolist()))
    least = min(
        padded_tokens(lengths, (*chosen, values[-1]))
        for count in range(max_buckets)
        for chosen in itertools.combinations(values[:-1], count)
    )
    buckets = choose_buckets(lengths, max_buckets)
    assert len(buckets.widths) <= max_buckets
    assert list(buckets.widths) == sorted(set(buckets.widths))
    assert buckets.widths[-1] == lengths.max()
    assert padded_tokens(lengths, buckets.widths) == least
    assert buckets.waste == pytest.approx(1 - lengths.sum() / least, abs=1e-12)


def test_buckets_by_hand():
    lengths = np.array([1, 1, 1, 1, 10, 9])
    assert choose_buckets(lengths, 1).widths == (10,)
    assert choose_buckets(lengths, 1).waste == pytest.approx(1 - 23 / 60)
    assert choose_buckets(lengths, 2).widths == (1, 10)
    assert choose_buckets(lengths, 2).waste == pytest.approx(1 - 23 / 24)
    assert choose_buckets(lengths, 9).widths == (1, 9, 10)  # no more than there are lengths
    assert choose_buckets(lengths, 9).waste == 0
    assert choose_buckets(np.array([4]), 3) == ((4,), 0.0)
    assert str(choose_buckets(lengths, 2)) == "2 length buckets (up to 1, 10 tokens), 4.2% padding"


PLANS = [
    # sentences, batch size, devices
    (40, 8, 1),
    (41, 7, 1),
    (40, 6, 4),
    (3, 8, 1),
    (1, 4, 1),
    (1, 1, 4),
]


def check_covers_once(plan, lengths, widths, batch_size, num_devices):
    size = -(-batch_size // num_devices) * num_devices
    assert plan.index.shape == plan.weight.shape == (len(plan.bucket), size)
    assert plan.index.dtype == plan.bucket.dtype == np.int32
    assert plan.weight.dtype == np.float32
    assert set(np.unique(plan.weight)) <= {0.0, 1.0}
    assert np.all(plan.weight.sum(axis=1) >= 1)
    assert np.all(plan.weight.sum(axis=1) <= batch_size)
    counts = np.bincount(plan.index[plan.weight == 1], minlength=len(lengths))
    np.testing.assert_array_equal(counts, np.ones(len(lengths)))
    # Filling rows are sentences of the same batch, so that they fit its width.
    assert plan.index.min() >= 0
    for bucket, index, weight in zip(*plan, strict=True):
        assert set(index) == set(index[weight == 1])
        fitting = [min(w for w in widths if w >= length) for length in lengths[index]]
        assert set(fitting) == {widths[bucket]}
    # No more batches than the buckets need.
    which = np.searchsorted(widths, lengths)
    assert len(plan.bucket) == sum(-(-count // batch_size) for count in np.bincount(which))


@pytest.mark.parametrize(("number", "batch_size", "num_devices"), PLANS)
def test_every_sentence_is_visited_once(number, batch_size, num_devices):
    lengths = random_lengths(number, number)
    widths = choose_buckets(lengths, 3).widths
    for epoch in range(3):
        plan = epoch_plan(lengths, widths, batch_size, seed=1, epoch=epoch, num_devices=num_devices)
        check_covers_once(plan, lengths, widths, batch_size, num_devices)
    plan = corpus_plan(lengths, widths, batch_size, num_devices=num_devices)
    full = num_devices * -(-batch_size // num_devices)  # sentences in all rows, to the last batch
    check_covers_once(plan, lengths, widths, full, num_devices)


def test_an_epoch_depends_on_seed_and_epoch_alone():
    lengths = random_lengths(0, 60)
    widths = choose_buckets(lengths, 3).widths

    def order(seed, epoch):
        return epoch_plan(lengths, widths, 8, seed=seed, epoch=epoch).index.tolist()

    first = order(1, 2)
    np.random.seed(3)  # noqa: NPY002
    order(5, 0)  # neither on global state nor on what was asked before
    assert order(1, 2) == first
    others = [order(seed, epoch) for seed in range(3) for epoch in range(3)]
    assert len({str(other) for other in others}) == 9


def test_batches_and_sentences_are_shuffled():
    lengths = random_lengths(0, 200)
    widths = choose_buckets(lengths, 3).widths
    plan = epoch_plan(lengths, widths, 8, seed=0, epoch=0)
    assert np.any(np.diff(plan.bucket) < 0)
    first = plan.index[plan.bucket == 0][0]
    assert np.any(np.diff(first) < 0)
    # Not only the same batches in another order.
    rows = {frozenset(row) for row in plan.index.tolist()}
    again = {
        frozenset(row) for row in epoch_plan(lengths, widths, 8, seed=0, epoch=1).index.tolist()
    }
    assert len(rows & again) < len(rows) / 2


def test_max_batches_takes_the_first_of_the_same_order():
    lengths = random_lengths(0, 60)
    widths = choose_buckets(lengths, 2).widths
    plan = epoch_plan(lengths, widths, 8, seed=4, epoch=5)
    short = epoch_plan(lengths, widths, 8, seed=4, epoch=5, max_batches=3)
    assert len(short.bucket) == 3
    for ours, theirs in zip(short, plan, strict=True):
        np.testing.assert_array_equal(ours, theirs[:3])
    many = epoch_plan(lengths, widths, 8, seed=4, epoch=5, max_batches=1000)
    np.testing.assert_array_equal(many.index, plan.index)


def test_the_corpus_plan_keeps_the_order():
    lengths = np.array([5, 2, 5, 1, 2, 5, 5])
    plan = corpus_plan(lengths, (2, 5), 3)
    np.testing.assert_array_equal(plan.bucket, [0, 1, 1])
    np.testing.assert_array_equal(plan.index, [[1, 3, 4], [0, 2, 5], [6, 6, 6]])
    np.testing.assert_array_equal(plan.weight, [[1, 1, 1], [1, 1, 1], [1, 0, 0]])


@pytest.mark.parametrize("plan", ["epoch", "corpus"])
def test_a_sentence_that_fits_no_bucket_is_not_lost(plan):
    lengths = np.array([2, 3, 9])
    with pytest.raises(Exception, match="9"):
        if plan == "epoch":
            epoch_plan(lengths, (3,), 2, seed=0, epoch=0)
        else:
            corpus_plan(lengths, (3,), 2)


def test_gathering_on_host_and_device_agree_and_lose_no_token():
    tokens, lengths = make_sentences(23, 9)
    widths = choose_buckets(lengths, 3).widths
    plan = epoch_plan(lengths, widths, 4, seed=0, epoch=0, num_devices=4)
    take = jax.jit(take_batch, static_argnames="width")
    corpus = jnp.asarray(tokens), jnp.asarray(lengths)
    seen = {}
    for batch, bucket, index, weight in zip(
        batches(tokens, lengths, widths, plan), *plan, strict=True
    ):
        width = widths[bucket]
        assert batch.tokens.shape == (4, width + 1)
        other = take(*corpus, jnp.asarray(index), jnp.asarray(weight), width=width)
        for ours, theirs in zip(batch, other, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(batch.mask.sum(axis=1), batch.lengths)
        for row in np.flatnonzero(weight):
            seen[int(index[row])] = np.asarray(batch.tokens[row])[: int(batch.lengths[row]) + 1]
    assert sorted(seen) == list(range(23))
    for number, row in seen.items():
        np.testing.assert_array_equal(row, tokens[number, : lengths[number] + 1])
