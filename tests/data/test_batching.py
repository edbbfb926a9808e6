"""Buckets against brute force, and epochs that visit every sentence once."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jvae.batch import Labels, Pixels, Tokens, resized, size_of
from jvae.data.batching import batches, choose_buckets, corpus_plan, epoch_plan
from jvae.data.split import Split
from jvae.training.steps import DeviceData, gather
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
    assert str(choose_buckets(lengths, 2)) == "2 buckets (up to 1, 10 wide), 4.2% padding"


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
    # Padding rows are sentences of the same batch, so that they fit its width.
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


def alone(tokens: Tokens) -> Split:
    return Split(tokens, tokens.lengths)


def given_pictures(tokens: Tokens) -> Split:
    """Sentences and their classes, of pictures."""
    number = len(tokens.lengths)
    pictures = np.arange(number * 6, dtype=np.float32).reshape(number, 3, 2, 1)
    x = {"text": tokens, "class": Labels(np.arange(number, dtype=np.int32) % 5)}
    return Split(x, tokens.lengths, condition=Pixels(pictures))


@pytest.mark.parametrize("make", [alone, given_pictures])
def test_gathering_on_host_and_device_agree_and_lose_no_token(make):
    tokens, lengths = make_sentences(23, 9)
    split = make(Tokens(tokens, lengths))
    widths = choose_buckets(lengths, 3).widths
    plan = epoch_plan(split.widths, widths, 4, seed=0, epoch=0, num_devices=4)
    take = jax.jit(gather, static_argnames="width")
    data = jax.tree.map(jnp.asarray, DeviceData(split.x, split.condition))
    seen = {}
    for batch, bucket, index, weight in zip(batches(split, widths, plan), *plan, strict=True):
        width = widths[bucket]
        other = take(data, jnp.asarray(index), jnp.asarray(weight), width=width)
        assert jax.tree.structure(batch) == jax.tree.structure(other)
        for ours, theirs in zip(jax.tree.leaves(batch), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(batch.index, index)
        np.testing.assert_array_equal(batch.weight, weight)
        x = batch.x
        if batch.condition is not None:
            np.testing.assert_array_equal(batch.condition.values, split.condition.values[index])
            np.testing.assert_array_equal(x["class"].classes, index % 5)
            x = x["text"]
        assert x.ids.shape == (4, width + 1)
        np.testing.assert_array_equal(x.mask.sum(axis=1), x.lengths)
        for row in np.flatnonzero(weight):
            seen[int(index[row])] = np.asarray(x.ids[row])[: int(x.lengths[row]) + 1]
    assert sorted(seen) == list(range(23))
    for number, row in seen.items():
        np.testing.assert_array_equal(row, tokens[number, : lengths[number] + 1])


def test_a_split_counts_reads_and_cuts_its_examples():
    tokens = Tokens(*make_sentences(23, 9))
    split = given_pictures(tokens)
    assert len(split) == 23
    np.testing.assert_array_equal(split.symbols, tokens.lengths + 1)  # a class is one symbol
    x, condition = split.take(np.array([7, 0]))
    np.testing.assert_array_equal(x["text"].ids, tokens.ids[[7, 0]])
    np.testing.assert_array_equal(condition.values, split.condition.values[[7, 0]])
    short = split.first(5)
    assert len(short) == len(short.condition.values) == 5 and split.first(99) is split
    np.testing.assert_array_equal(short.symbols, split.symbols[:5])
    np.testing.assert_array_equal(short.widths, tokens.lengths[:5])


def test_resizing_cuts_and_pads_each_part():
    tokens = Tokens(*make_sentences(6, 9))
    for width in (9, 12, 4):
        x = resized({"text": tokens, "class": Labels(np.arange(6))}, width)
        kept = min(width, 9) + 1
        assert isinstance(x["text"].ids, np.ndarray)  # on the host it stays there
        np.testing.assert_array_equal(x["text"].ids[:, :kept], tokens.ids[:, :kept])
        assert x["text"].ids.shape == (6, width + 1) and np.all(x["text"].ids[:, kept:] == 0)
        np.testing.assert_array_equal(size_of(x), tokens.lengths + 1)
