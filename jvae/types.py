"""The types that every layer shares, and the letters that name array axes.

B sentences of a batch, T predicted tokens, V vocabulary, E embedding, H hidden, L latent,
S or K samples, N sentences of a corpus.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Array = jax.Array
Key = jax.Array  # a typed PRNG key, `jax.random.key(seed)`, or an array of them
Params = Any  # a pytree of arrays
DType = Any  # a floating-point type, or None where arrays keep their own
Schedule = Callable[[Any], Any]  # step -> value, as in optax

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")


class Batch(NamedTuple):
    """Padded sentences.

    Attributes:
      tokens: `[B, T + 1]` int32, `<s> w_1 .. w_n </s> <pad> ..`.
      lengths: `[B]` int32, predicted tokens: the words and `</s>`, without `<s>`.
      index: `[B]` int32, the sentence's number in its split. Its noise is drawn from this
        number, so that no estimate depends on what else is in the batch.
      weight: `[B]` float32, 1, or 0 for a row that only fills up the batch.
    """

    tokens: Array
    lengths: Array
    index: Array  # type: ignore[assignment]  # not tuple.index
    weight: Array

    @property
    def inputs(self) -> Array:
        """`[B, T]`: what the decoder reads, `<s> w_1 .. w_n`."""
        return self.tokens[:, :-1]

    @property
    def targets(self) -> Array:
        """`[B, T]`: what the decoder predicts, `w_1 .. w_n </s>`."""
        return self.tokens[:, 1:]

    @property
    def mask(self) -> Array:
        """`[B, T]` bool: which targets are real tokens."""
        steps = jax.numpy.arange(self.tokens.shape[1] - 1)
        return steps[None, :] < self.lengths[:, None]
