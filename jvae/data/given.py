"""Sentences that a program gives rather than a file."""

from collections.abc import Iterable, Mapping, Set
from typing import Any

from jvae.errors import UserError


def given_sentences(sentences: Any) -> list[str]:
    """Lists the sentences: one text each, in an order.

    Raises:
      UserError: they are a single text, a table, or something without order; or one of them is no
        text, which `str` would make words of (`None`, `nan`, `b'..'`).
    """
    if isinstance(sentences, str | bytes):
        raise UserError(f"sentences must be a list, not a single text: give [{sentences!r:.60}]")
    dimensions = getattr(sentences, "ndim", 1)
    if dimensions != 1:
        shape = list(getattr(sentences, "shape", ()))
        raise UserError(
            f"sentences have the shape {shape}: give one column, as X[:, 0] of an array or "
            "X['text'] of a table"
        )
    kind = type(sentences).__name__
    if isinstance(sentences, Mapping | Set) or not isinstance(sentences, Iterable):
        raise UserError(f"sentences must be a list of texts, not of type {kind}")
    listed = list(sentences)
    for number, sentence in enumerate(listed, start=1):
        if not isinstance(sentence, str):
            found = f"{sentence!r:.40} (of type {type(sentence).__name__})"
            raise UserError(
                f"sentence {number} is {found}, not a text: decode it, or leave the row out"
            )
        try:
            sentence.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"sentence {number} holds half a character ({error.reason}): correct the text"
            ) from None
    return list(map(str, listed))
