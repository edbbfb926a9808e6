"""Sentences on disk, and the rows of a plan in its order, read ahead."""

import resource
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from jvae.batch import Labels, Tokens, resized
from jvae.data.batching import batches, epoch_plan
from jvae.data.encoding import encode_split
from jvae.data.split import Split
from jvae.data.store import StoredTokens, pad
from jvae.data.streaming import AHEAD, THREADS, ahead, read_part
from jvae.data.tokenizers import build_tokenizer
from jvae.errors import UserError
from tests.conftest import make_sentences

NUM, WIDTH, BATCH = 37, 9, 4


@pytest.fixture(scope="module")
def split() -> Split:
    tokens, lengths = make_sentences(NUM, WIDTH)
    labels = Labels(np.arange(NUM, dtype=np.int32) % 3 + 1)  # of which they are given
    return Split(Tokens(tokens, lengths), lengths, condition=labels)


def store(split: Split, folder: Path, dtype: type = np.uint16) -> Split:
    """The same sentences on disk, in two blocks."""
    stored = StoredTokens(folder, dtype)
    for part in (slice(0, 20), slice(20, None)):
        rows = zip(split.x.ids[part], split.x.lengths[part], strict=True)
        stored.append(np.concatenate([row[1 : length + 1] for row, length in rows]))
    stored.seal(split.x.lengths)
    return Split(Tokens(stored, split.x.lengths), split.widths, split.condition)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_what_is_stored_is_read(dtype, split, tmp_path):
    on_disk = store(split, tmp_path, dtype)
    stored = on_disk.x.ids
    assert stored.shape == split.x.ids.shape
    for index in (np.arange(NUM), np.array([36, 0, 0, 19, 20]), np.array([], np.int32)):
        read = stored[index]
        np.testing.assert_array_equal(read, split.x.ids[index])
        assert read.dtype == np.int32
    assert list(tmp_path.iterdir()) == []
    short = on_disk.first(5)
    assert len(short) == 5 and short.x.ids is stored  # what is on disk stays there
    np.testing.assert_array_equal(short.take(np.arange(5))[0].ids, split.x.ids[:5])


def test_padding():
    np.testing.assert_array_equal(
        pad(np.array([7, 8, 2, 2, 9, 2]), np.array([3, 1, 2]), 4),
        [[1, 7, 8, 2, 0], [1, 2, 0, 0, 0], [1, 9, 2, 0, 0]],
    )


@pytest.mark.parametrize("too_long", ["truncate", "drop"])
def test_encoding_to_disk_is_encoding_to_memory(too_long, tmp_path, monkeypatch):
    monkeypatch.setattr("jvae.data.encoding._BLOCK", 2)
    tokenizer = build_tokenizer("words", ["a a a b b c"])
    text = ["a b c", "a", "   ", "", "a zz b a", "c c c c c", "b"]  # the second block is empty
    options = {"max_length": 3, "too_long": too_long}
    memory, report, rows = encode_split(tokenizer, text, **options)
    disk, disk_report, disk_rows = encode_split(tokenizer, text, **options, folder=tmp_path)
    np.testing.assert_array_equal(disk.x.ids[np.arange(len(rows))], memory.x.ids)
    np.testing.assert_array_equal(disk.x.lengths, memory.x.lengths)
    np.testing.assert_array_equal(disk.widths, memory.widths)
    np.testing.assert_array_equal(disk_rows, rows)
    assert disk_report == report


def test_a_vocabulary_above_two_bytes(tmp_path):
    words = [f"w{number}" for number in range(70_000)]
    tokenizer = build_tokenizer("words", [" ".join(words)])
    last = max(words, key=lambda word: tokenizer.encode(word))
    split, _, _ = encode_split(tokenizer, [last], max_length=None, folder=tmp_path)
    np.testing.assert_array_equal(split.x.ids[np.arange(1)], [[1, 70_003, 2]])


def test_a_disk_that_takes_no_more_is_one_line(split, tmp_path):
    with pytest.raises(UserError, match="cannot keep the training sentences in .*nowhere: No such"):
        StoredTokens(tmp_path / "nowhere", np.uint16)
    stored = StoredTokens(tmp_path, np.uint16)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(UserError, match="File too large; make room there, or choose another"):
            stored.append(np.zeros(10_000, np.int64))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("on_disk", [False, True])
def test_rows_are_the_plans_batches(on_disk, split, tmp_path):
    widths = (5, WIDTH)
    plan = epoch_plan(split.widths, widths, BATCH, seed=0, epoch=0)
    expected = list(batches(split, widths, plan))
    source = store(split, tmp_path) if on_disk else split
    assert 0 < plan.weight.min() + plan.weight.max() < 2  # some row only pads
    for drawn in ([3], [5, 0, 5], range(len(expected))):
        part = read_part(source, plan, np.array(drawn), len(expected) + 2)
        rows = part.plan
        assert len(rows.bucket) == len(expected) + 2
        assert (rows.weight[len(drawn) :] == 0).all()
        assert len(part.numbers) == len(part.x.ids) == BATCH * (len(expected) + 2)
        for number, row in enumerate(drawn):
            local, want = rows.index[number], expected[row]
            width = widths[rows.bucket[number]]
            assert width == want.x.ids.shape[1] - 1
            np.testing.assert_array_equal(resized(part.x, width).ids[local], want.x.ids)
            np.testing.assert_array_equal(part.x.lengths[local], want.x.lengths)
            np.testing.assert_array_equal(part.condition.classes[local], want.condition.classes)
            np.testing.assert_array_equal(part.numbers[local], want.index)
            np.testing.assert_array_equal(rows.weight[number], want.weight)


def test_elements_come_in_order_and_ahead():
    loaded = []

    def load(number: int) -> int:
        time.sleep(0.005 if number % 2 else 0.0)  # the odd ones are overtaken
        loaded.append(number)
        return number

    elements = ahead(load, 7, 60)
    assert next(elements) == 7
    deadline = time.monotonic() + 10
    while len(loaded) < AHEAD and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert AHEAD <= len(loaded) <= 1 + AHEAD + THREADS  # ahead, but not without end
    assert list(elements) == list(range(8, 60))
    assert sorted(loaded) == list(range(7, 60))


def test_what_goes_wrong_in_a_thread_is_raised():
    def load(number: int) -> int:
        if number == 3:
            raise ValueError("of number 3")
        return number

    elements = ahead(load, 0, 10)
    assert [next(elements) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="of number 3"):
        next(elements)


def test_closing_ends_the_reading():
    loaded = []
    before = set(threading.enumerate())
    elements = ahead(lambda number: loaded.append(number) or number, 0, 10_000)
    next(elements)
    assert set(threading.enumerate()) - before
    elements.close()
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    count = len(loaded)
    time.sleep(0.05)
    assert len(loaded) == count < 10_000
    assert not set(threading.enumerate()) - before
