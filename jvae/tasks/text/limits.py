"""The longest sentences that a text model reads and writes, in predicted tokens."""

from typing import Any

UNLIMITED = 50  # tokens that are decoded where `data.max_length` is 0


def most_tokens(config: Any) -> int:
    """Returns the tokens of the longest sentence that a prior of sets counts, `</s>` included.

    Learned positions are not fewer: `data.max_length` beyond them is refused.
    """
    length: int = config.data.max_length
    return length + 1 if length else int(config.model.transformer.max_positions)


def longest_decoded(config: Any) -> int:
    """Returns how many tokens are decoded at most unless the user says so, `</s>` included."""
    length: int = config.data.max_length
    longest = length + 1 if length else UNLIMITED
    model = config.model
    if model.decoder == "transformer" and model.transformer.positions == "learned":
        return min(longest, int(model.transformer.max_positions))
    return longest
