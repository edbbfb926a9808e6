"""From sentences to padded arrays of token ids, with a count of what was lost."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jvae.batch import EOS, UNK, Tokens
from jvae.data.split import Split
from jvae.data.store import StoredTokens, pad
from jvae.data.tokenizers import Tokenizer
from jvae.errors import UserError

TOO_LONG = ("truncate", "drop")
_BLOCK = 10_000  # sentences held as Python lists at a time


class EncodingReport(NamedTuple):
    """Counts of what encoding kept and lost.

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
    folder: Path | None = None,
) -> tuple[Split, EncodingReport, np.ndarray]:
    """Encodes the sentences of a split.

    Args:
      tokenizer: gives ids without `<s>` and `</s>`.
      sentences: N texts.
      max_length: the most tokens of a sentence, without `<s>` and `</s>`; None for no limit.
      too_long: "truncate" a longer sentence or "drop" it.
      split: its name, for messages.
      folder: on whose disk the tokens are kept, until the process ends; None for memory.

    Returns:
      The encoded sentences, the report, and the numbers `[N_kept]` of the sentences kept.

    Raises:
      UserError: nothing is left, a setting makes no sense, or the disk takes no more.
    """
    if max_length is not None and max_length < 1:
        raise UserError(f"data.max_length is {max_length}; it must be at least 1, or None")
    if too_long not in TOO_LONG:
        raise UserError(f"data.too_long is {too_long!r}; it must be one of {', '.join(TOO_LONG)}")

    dtype = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
    stored = None if folder is None else StoredTokens(folder, dtype)
    blocks, sizes, unknown = [], [np.zeros(0, np.int64)], 0
    for start in range(0, len(sentences), _BLOCK):
        encoded = [tokenizer.encode(sentence) for sentence in sentences[start : start + _BLOCK]]
        sizes.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        kept = _kept(sizes[-1], max_length, too_long)
        ids = chain.from_iterable((*encoded[row][:max_length], EOS) for row in kept)
        block = np.fromiter(ids, dtype)
        unknown += int((block == UNK).sum())
        if stored is None:
            blocks.append(block)
        else:
            stored.append(block)
    full = np.concatenate(sizes)
    kept_rows = _kept(full, max_length, too_long)
    if not len(kept_rows):
        raise UserError(
            f"split {split}: none of {len(full):,} sentences is left "
            f"(longest {full.max(initial=0):,} tokens); raise data.max_length={max_length}, set "
            "data.too_long=truncate, or give another corpus"
        )

    words = full[kept_rows]
    lengths = np.minimum(words, words.max() if max_length is None else max_length) + 1
    lengths = lengths.astype(np.int32)
    report = EncodingReport(
        sentences=len(full),
        kept=len(kept_rows),
        truncated=int((words >= lengths).sum()),
        dropped=len(full) - len(kept_rows),
        tokens=int(lengths.sum()),
        unknown=unknown,
    )
    if stored is None:
        tokens: Any = pad(np.concatenate(blocks), lengths, lengths.max())
    else:
        stored.seal(lengths)
        tokens = stored
    return Split(Tokens(tokens, lengths), lengths), report, kept_rows


def _kept(sizes: np.ndarray, max_length: int | None, too_long: str) -> np.ndarray:
    """Tells which sentences of so many tokens are kept."""
    keep = sizes > 0
    if too_long == "drop" and max_length is not None:
        keep &= sizes <= max_length
    return np.flatnonzero(keep)
