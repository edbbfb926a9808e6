"""The smoothness of the sentences along a path from one to another.

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
    """Measures of one path `x_0 .. x_m`, or means over several; d is the distance in words.

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
    """Measures over several paths.

    Attributes:
      mean: None if there is no path to measure.
      error: its standard errors; NaN for one path.
      paths: how many were measured.
      equal_ends: how many were left out, because `x_0 = x_m`: there is no distance to go.
    """

    mean: Smoothness | None
    error: Smoothness | None
    paths: int
    equal_ends: int


def edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Counts the fewest insertions, deletions and replacements from `first` to `second`.

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


def of_path(sentences: Sequence[str]) -> Smoothness | None:
    """Measures one path, or returns None if its ends are equal.

    Args:
      sentences: `x_0 .. x_m`, at least two.

    Raises:
      UserError: fewer.
    """
    if len(sentences) < 2:
        raise UserError(f"a path of {len(sentences)} sentences: give at least 2, the two ends")
    words = [sentence.split() for sentence in sentences]
    direct = edit_distance(words[0], words[-1])
    if direct == 0:
        return None
    steps = [edit_distance(*pair) for pair in zip(words, words[1:], strict=False)]
    to_go = [edit_distance(some, words[-1]) for some in words]
    nearer = [after <= before for before, after in zip(to_go, to_go[1:], strict=False)]
    return Smoothness(max(steps) / direct, sum(steps) / direct, sum(nearer) / len(steps))


def smoothness(paths: Sequence[Sequence[str]]) -> Measured:
    """Computes means over paths, with their standard errors.

    Args:
      paths: each one the sentences `x_0 .. x_m`.

    Raises:
      UserError: a path of fewer than two sentences.
    """
    measured = [one for path in paths if (one := of_path(path)) is not None]
    left_out = len(paths) - len(measured)
    if not measured:
        return Measured(None, None, 0, left_out)
    columns = np.array(measured).T
    mean = Smoothness(*(float(row.mean()) for row in columns))
    error = Smoothness(*(standard_error(row) for row in columns))
    return Measured(mean, error, len(measured), left_out)
