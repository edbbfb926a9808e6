"""The examples of a split, in memory or on disk."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jvae.batch import size_of


@dataclasses.dataclass(frozen=True)
class Split:
    """N examples.

    Attributes:
      x: an observation, or a dictionary of them, whose leaves are NumPy arrays with leading axis N,
        or stand for such (`jvae.data.store.StoredTokens`): `leaf[index]` is an array.
      widths: `[N]` int32, the padded width that each example needs: what buckets are chosen by.
      condition: as `x`, or None.
    """

    x: Any
    widths: np.ndarray
    condition: Any = None

    def __len__(self) -> int:
        """Returns N."""
        return len(self.widths)

    @property
    def symbols(self) -> np.ndarray:
        """`[N]`, predicted symbols of each example."""
        return np.asarray(size_of(self.x))

    def take(self, index: Any) -> tuple[Any, Any]:
        """Reads the examples of these numbers: x and condition, with NumPy leaves."""
        return jax.tree.map(lambda leaf: leaf[index], (self.x, self.condition))

    def first(self, number: int) -> "Split":
        """Returns the first `number` examples; those on disk stay there."""
        if number >= len(self):
            return self
        x, condition = jax.tree.map(
            lambda leaf: leaf[:number] if isinstance(leaf, np.ndarray) else leaf,
            (self.x, self.condition),
        )
        return Split(x, self.widths[:number], condition)
