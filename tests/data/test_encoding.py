import numpy as np
import pytest

from jvae.data.encoding import encode_split
from jvae.data.tokenizers import build_tokenizer
from jvae.errors import UserError

TEXT = ["a b c", "a", "a zz b a", "   "]


@pytest.fixture
def tokenizer():
    return build_tokenizer("words", ["a a a b b c"])  # a 4, b 5, c 6


def test_whole(tokenizer):
    split, report, rows = encode_split(tokenizer, TEXT, max_length=None)
    np.testing.assert_array_equal(
        split.x.ids, [[1, 4, 5, 6, 2, 0], [1, 4, 2, 0, 0, 0], [1, 4, 3, 5, 4, 2]]
    )
    np.testing.assert_array_equal(split.x.lengths, [4, 2, 5])
    np.testing.assert_array_equal(split.widths, [4, 2, 5])
    assert split.x.ids.dtype == split.x.lengths.dtype == np.int32
    np.testing.assert_array_equal(rows, [0, 1, 2])
    assert report == (4, 3, 0, 1, 11, 1)
    assert str(report) == (
        "3 of 4 sentences kept, 1 dropped, 0 truncated; 11 tokens, 1 of them <unk> (9.09%)"
    )


def test_truncate(tokenizer):
    split, report, rows = encode_split(tokenizer, TEXT, max_length=2)
    np.testing.assert_array_equal(split.x.ids, [[1, 4, 5, 2], [1, 4, 2, 0], [1, 4, 3, 2]])
    np.testing.assert_array_equal(split.x.lengths, [3, 2, 3])
    assert report == (4, 3, 2, 1, 8, 1) and list(rows) == [0, 1, 2]


def test_drop(tokenizer):
    split, report, rows = encode_split(tokenizer, TEXT, max_length=3, too_long="drop")
    np.testing.assert_array_equal(split.x.ids, [[1, 4, 5, 6, 2], [1, 4, 2, 0, 0]])
    assert report == (4, 2, 0, 2, 6, 0) and list(rows) == [0, 1]


def test_nothing_left(tokenizer):
    with pytest.raises(UserError) as caught:
        encode_split(tokenizer, ["a b c", "b b"], max_length=1, too_long="drop", split="valid")
    for part in ("split valid", "longest 3", "data.max_length=1"):
        assert part in str(caught.value)
    with pytest.raises(UserError, match="none of 0 sentences"):
        encode_split(tokenizer, [], max_length=None)


def test_settings(tokenizer):
    with pytest.raises(UserError, match="data.max_length is 0"):
        encode_split(tokenizer, TEXT, max_length=0)
    with pytest.raises(UserError, match="data.too_long is 'cut'; it must be one of truncate, drop"):
        encode_split(tokenizer, TEXT, max_length=3, too_long="cut")
