"""A batch of examples: what a model explains, what is given, and who the examples are.

Every observation is a pytree whose leaves have a leading axis B (or N, of a whole split). It has
`size`, the number of symbols that it predicts, by which perplexity divides, and `resized(width)`,
which cuts or adds padding. Observations of NumPy arrays stay NumPy arrays.
"""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jvae.types import Array

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")


class Observation(Protocol):
    """An observation, which `p(x | z, c)` explains."""

    @property
    def size(self) -> Array:
        """`[B]`, predicted symbols of each example."""
        ...

    def resized(self, width: int) -> "Observation":
        """Returns the same examples, padded to `width`."""
        ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tokens:
    """Padded sentences.

    Attributes:
      ids: `[B, T + 1]` int32, `<s> w_1 .. w_n </s> <pad> ..`.
      lengths: `[B]` int32, predicted tokens: the words and `</s>`, without `<s>`.
    """

    ids: Array
    lengths: Array

    @property
    def inputs(self) -> Array:
        """`[B, T]`, the tokens that a decoder reads: `<s> w_1 .. w_n`."""
        return self.ids[:, :-1]

    @property
    def targets(self) -> Array:
        """`[B, T]`, the tokens that a decoder predicts: `w_1 .. w_n </s>`."""
        return self.ids[:, 1:]

    @property
    def mask(self) -> Array:
        """`[B, T]` bool, true where a target is a real token."""
        steps = jnp.arange(self.ids.shape[1] - 1)
        return steps[None, :] < self.lengths[:, None]

    @property
    def size(self) -> Array:
        """`[B]`, the lengths."""
        return self.lengths

    def resized(self, width: int) -> "Tokens":
        """Returns the sentences padded to `width` predicted tokens."""
        return Tokens(_columns(self.ids, width + 1), self.lengths)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Counts:
    """Bags of words, stored sparsely.

    Attributes:
      ids: `[B, W]` int32, the distinct words of each document, padded.
      counts: `[B, W]` float32, how often each occurs; 0 for padding.
    """

    ids: Array
    counts: Array

    @property
    def size(self) -> Array:
        """`[B]`, words of each document."""
        return self.counts.sum(axis=-1)

    def resized(self, width: int) -> "Counts":
        """Returns the documents padded to `width` distinct words."""
        return Counts(_columns(self.ids, width), _columns(self.counts, width))

    def dense(self, vocab_size: int) -> Array:
        """Returns the counts of all words, `[B, V]`."""
        rows = jnp.arange(self.ids.shape[0])[:, None]
        empty = jnp.zeros((self.ids.shape[0], vocab_size), self.counts.dtype)
        return empty.at[rows, self.ids].add(self.counts)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pixels:
    """Images.

    Attributes:
      values: `[B, height, width, channels]` float32, from 0 to 1.
    """

    values: Array

    @property
    def size(self) -> Array:
        """`[B]`, pixels of each image, all channels counted."""
        return jnp.full(self.values.shape[0], self.values[0].size)

    def resized(self, width: int) -> "Pixels":
        """Returns the images: all have one size."""
        del width
        return self


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Labels:
    """Classes.

    Attributes:
      classes: `[B]` int32, the number of each example's class.
    """

    classes: Array

    @property
    def size(self) -> Array:
        """`[B]`, ones: a label is one symbol."""
        return jnp.ones_like(self.classes)

    def resized(self, width: int) -> "Labels":
        """Returns the labels: they have no padding."""
        del width
        return self


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Examples of a step.

    Attributes:
      x: what `p(x | z, c)` explains: an `Observation`, or a dictionary of them.
      condition: c, what is given: None, or an observation, or a dictionary of them.
      index: `[B]` int32, each example's number in its split. Its noise is drawn from this number,
        so that no estimate depends on the rest of the batch.
      weight: `[B]` float32, 1, or 0 for a row that only pads the batch.
    """

    x: Any
    condition: Any
    index: Array
    weight: Array

    @property
    def rows(self) -> int:
        """B."""
        return int(self.index.shape[0])

    def replace(self, **fields: Any) -> "Batch":
        """Returns the batch with other values of some fields."""
        return dataclasses.replace(self, **fields)


def resized(x: Any, width: int) -> Any:
    """Resizes an observation, or each of a dictionary of them."""
    if isinstance(x, dict):
        return {name: resized(part, width) for name, part in x.items()}
    return x.resized(width)


def size_of(x: Any) -> Any:
    """Counts the predicted symbols of an observation, or of a dictionary of them, `[B]`."""
    if isinstance(x, dict):
        return sum(size_of(part) for part in x.values())
    return x.size


def _columns(rows: Any, width: int) -> Any:
    """Cuts `[B, W]` to `width` columns, or pads it with zeros."""
    missing = width - rows.shape[1]
    if missing <= 0:
        return rows[:, :width]
    pad = np.pad if isinstance(rows, np.ndarray) else jnp.pad
    return pad(rows, ((0, 0), (0, missing)))


def text_batch(ids: Any, lengths: Any = None, *, condition: Any = None) -> Batch:
    """Makes a batch of padded sentences, numbered from 0.

    Args:
      ids: `[B, T + 1]` int, `<s> w_1 .. w_n </s> <pad> ..`.
      lengths: `[B]` int, predicted tokens of each sentence; by default all tokens after `<s>` that
        are no padding.
      condition: what is given, if anything.
    """
    ids = jnp.asarray(ids, jnp.int32)
    if lengths is None:
        lengths = jnp.sum(ids[:, 1:] != PAD, axis=1)
    tokens = Tokens(ids, jnp.asarray(lengths, jnp.int32))
    rows = ids.shape[0]
    return Batch(tokens, condition, jnp.arange(rows, dtype=jnp.int32), jnp.ones(rows))
