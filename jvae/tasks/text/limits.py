"""The longest sentences that a text model reads and writes, in predicted tokens."""

from typing import Any

# Tokens that are decoded where `data.max_length` is 0 and an earlier jvae trained the run.
UNLIMITED = 50


def most_tokens(config: Any) -> int:
    """Returns the tokens of the longest sentence that a prior of sets counts, `</s>` included.

    Learned positions are not fewer: `data.max_length` beyond them is refused.
    """
    length: int = config.data.max_length
    return length + 1 if length else int(config.model.transformer.max_positions)


def longest_decoded(config: Any, width: int) -> int:
    """Returns how many tokens are decoded at most unless the user says so, `</s>` included.

    Args:
      config: of the run.
      width: `</s>` included, of the longest training sentence; 0 where nobody wrote it.
    """
    length: int = config.data.max_length
    longest = width or (length + 1 if length else UNLIMITED)
    model = config.model
    if model.decoder == "transformer" and model.transformer.positions == "learned":
        return min(longest, int(model.transformer.max_positions))
    return longest
