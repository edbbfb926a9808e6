"""Dropout whose noise belongs to the sentence, not to the batch."""

import math

import jax
import jax.numpy as jnp

from jvae.batch import BOS, UNK
from jvae.random import example_keys
from jvae.types import Array, Key


def dropout(x: Array, rate: float, *, key: Key, index: Array) -> Array:
    """Computes `x * keep / (1 - rate)` with an independent Bernoulli(1 - rate) `keep` per entry.

    The rate is rounded to a multiple of 1/256 (0.5 is exact; at most 255/256), and the rescaling
    uses the rounded rate: four draws then come out of one 32-bit random word.

    Args:
      x: `[B, T, F]`.
      rate: share of entries to drop.
      key: the stream's key at this step.
      index: `[B]`, the sentences' numbers. Position t of a sentence draws the same bits
        whatever the padding.
    """
    threshold = min(round(256 * rate), 255)  # something is always kept
    if threshold == 0:
        return x
    _, steps, features = x.shape
    words = math.ceil(features / 4)

    def sentence_bits(sentence_key: Key) -> Array:
        bits = jax.random.bits(sentence_key, (steps, words), jnp.uint32)
        return jax.lax.bitcast_convert_type(bits, jnp.uint8).reshape(steps, 4 * words)

    bits = jax.vmap(sentence_bits)(example_keys(key, index))[..., :features]
    return jnp.where(bits >= threshold, x * (256 / (256 - threshold)), 0)


def word_dropout(tokens: Array, rate: float, *, key: Key, index: Array) -> Array:
    """Replaces input words by `<unk>` with probability `rate`; never `<s>`.

    Args:
      tokens: `[B, T]`, what the decoder reads.
      rate: share of words to replace. At 1 the decoder is "inputless".
      key: the stream's key at this step.
      index: `[B]`, the sentences' numbers.

    References:
      Bowman et al. (2016), Generating Sentences from a Continuous Space, section 3.1.
    """
    if rate == 0:
        return tokens
    uniform = jax.vmap(lambda k: jax.random.uniform(k, tokens.shape[1:]))(example_keys(key, index))
    return jnp.where((uniform < rate) & (tokens != BOS), UNK, tokens)
