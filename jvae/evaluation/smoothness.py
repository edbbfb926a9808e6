"""How smoothly the sentences change along a way from one to another.

The measures are ours: that of Henderson and Fehr (2023) could not be read. Words are what white
space separates, and the distance is the plain edit distance: divided by the longer length it breaks
the triangle inequality ("a b" to "b a" over "a b a": 1/3 + 1/3 < 1), and a detour would look short.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jvae.errors import UserError
from jvae.evaluation.diagnostics import standard_error


class Smoothness(NamedTuple):
    """Of one way `x_0 .. x_m`, or means over several; d is the distance in words.

    Attributes:
      jump: `max_t d(x_t, x_{t+1}) / d(x_0, x_m)`: at least `1 / m`, in equal steps; 1 and more if
        all changes at once.
      path: `sum_t d(x_t, x_{t+1}) / d(x_0, x_m)`: at least 1, without a detour.
      monotone: share of the steps that do not lead away from `x_m`, 0 to 1.
    """

    jump: float
    path: float
    monotone: float


class Measured(NamedTuple):
    """Over several ways.

    Attributes:
      mean: None if there is no way to measure.
      error: its standard errors; NaN for one way.
      ways: measured.
      equal_ends: left out, for `x_0 = x_m`: there is no distance to go.
    """

    mean: Smoothness | None
    error: Smoothness | None
    ways: int
    equal_ends: int


def edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Fewest insertions, deletions and replacements that make `first` to `second`.

    Args:
      first: words.
      second: words.

    Source: Levenshtein 1966; the usual dynamic programme, a row at a time.
    """
    row = list(range(len(second) + 1))
    for number, word in enumerate(first, start=1):
        diagonal, row[0] = row[0], number
        for column, other in enumerate(second, start=1):
            best = min(row[column] + 1, row[column - 1] + 1, diagonal + (word != other))
            diagonal, row[column] = row[column], best
    return row[-1]


def of_way(sentences: Sequence[str]) -> Smoothness | None:
    """The measures of one way, or None if its ends are equal.

    Args:
      sentences: `x_0 .. x_m`, at least two.

    Raises:
      UserError: fewer.
    """
    if len(sentences) < 2:
        raise UserError(f"a way of {len(sentences)} sentences: give at least 2, the two ends")
    words = [sentence.split() for sentence in sentences]
    direct = edit_distance(words[0], words[-1])
    if direct == 0:
        return None
    steps = [edit_distance(*pair) for pair in zip(words, words[1:], strict=False)]
    to_go = [edit_distance(some, words[-1]) for some in words]
    nearer = [after <= before for before, after in zip(to_go, to_go[1:], strict=False)]
    return Smoothness(max(steps) / direct, sum(steps) / direct, sum(nearer) / len(steps))


def smoothness(ways: Sequence[Sequence[str]]) -> Measured:
    """Means over ways, with their standard errors.

    Args:
      ways: each of the sentences `x_0 .. x_m`.

    Raises:
      UserError: a way of fewer than two sentences.
    """
    found = [one for way in ways if (one := of_way(way)) is not None]
    left_out = len(ways) - len(found)
    if not found:
        return Measured(None, None, 0, left_out)
    figures = np.array(found).T
    mean = Smoothness(*(float(row.mean()) for row in figures))
    error = Smoothness(*(standard_error(row) for row in figures))
    return Measured(mean, error, len(found), left_out)
