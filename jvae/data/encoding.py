"""From sentences to padded arrays of token ids, with a count of what was lost."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jvae.data.tokenizers import Tokenizer
from jvae.errors import UserError
from jvae.types import BOS, EOS, PAD, UNK

TOO_LONG = ("truncate", "drop")


class Split(NamedTuple):
    """Encoded sentences; N sentences, T predicted tokens of the longest.

    Attributes:
      tokens: `[N, T + 1]` int32, `<s> w_1 .. w_n </s> <pad> ..`.
      lengths: `[N]` int32, predicted tokens: the words and `</s>`.
    """

    tokens: np.ndarray
    lengths: np.ndarray


class EncodingReport(NamedTuple):
    """What encoding kept and lost, in counts.

    Attributes:
      sentences: given.
      kept: encoded, the truncated ones among them.
      truncated: cut to the longest length allowed.
      dropped: left out, too long or without a token.
      tokens: predicted tokens kept, with `</s>`.
      unknown: those of them that are `<unk>`, also where the corpus itself says `<unk>`.
    """

    sentences: int
    kept: int
    truncated: int
    dropped: int
    tokens: int
    unknown: int

    def __str__(self) -> str:
        return (
            f"{self.kept:,} of {self.sentences:,} sentences kept, {self.dropped:,} dropped, "
            f"{self.truncated:,} truncated; {self.tokens:,} tokens, "
            f"{self.unknown:,} of them <unk> ({self.unknown / max(self.tokens, 1):.2%})"
        )


def encode_split(
    tokenizer: Tokenizer,
    sentences: Sequence[str],
    *,
    max_length: int | None,
    too_long: str = "truncate",
    split: str = "corpus",
) -> tuple[Split, EncodingReport, np.ndarray]:
    """Encodes the sentences of a split.

    Args:
      tokenizer: gives ids without `<s>` and `</s>`.
      sentences: N texts.
      max_length: the most tokens of a sentence, without `<s>` and `</s>`; None for no limit.
      too_long: "truncate" a longer sentence or "drop" it.
      split: its name, for messages.

    Returns:
      The encoded sentences, the report, and the numbers `[N_kept]` of the sentences kept.

    Raises:
      UserError: nothing is left, or a setting makes no sense.
    """
    if max_length is not None and max_length < 1:
        raise UserError(f"data.max_length is {max_length}; it must be at least 1, or None")
    if too_long not in TOO_LONG:
        raise UserError(f"data.too_long is {too_long!r}; it must be one of {', '.join(TOO_LONG)}")

    encoded = [tokenizer.encode(sentence) for sentence in sentences]
    full = np.fromiter(map(len, encoded), np.int64, len(encoded))
    limit = int(full.max(initial=0)) if max_length is None else max_length
    over = full > limit
    keep = full > 0
    if too_long == "drop":
        keep &= ~over
    kept_rows = np.flatnonzero(keep)
    if not len(kept_rows):
        raise UserError(
            f"split {split}: none of {len(encoded):,} sentences is left "
            f"(longest {full.max(initial=0):,} tokens); raise data.max_length={max_length}, set "
            "data.too_long=truncate, or give another corpus"
        )

    lengths = np.minimum(full[kept_rows], limit) + 1
    tokens = np.full((len(kept_rows), lengths.max() + 1), PAD, np.int32)
    tokens[:, 0] = BOS
    for row, number in enumerate(kept_rows):
        size = lengths[row] - 1
        tokens[row, 1 : size + 1] = encoded[number][:size]
        tokens[row, size + 1] = EOS
    report = EncodingReport(
        sentences=len(encoded),
        kept=len(kept_rows),
        truncated=int((over & keep).sum()),
        dropped=len(encoded) - len(kept_rows),
        tokens=int(lengths.sum()),
        unknown=int((tokens == UNK).sum()),
    )
    return Split(tokens, lengths.astype(np.int32)), report, kept_rows
