"""Dot-product attention: of a sentence to itself, with a cache, and to a set of vectors."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jvae.distributions.sets import VectorSet
from jvae.layers.product import by_row, dense_product
from jvae.types import Array, DType


class Memory(NamedTuple):
    """Keys and values that queries look up.

    Attributes:
      keys: `[B, K, N, E]`, N heads of width E; in a cache of tokens `[B, N, K, E]`.
      values: likewise.
      mask: `[B, 1, 1, K]` bool: what is there; None for all of it.
    """

    keys: Array
    values: Array
    mask: Array | None = None


def _heads(x: Array, heads: int) -> Array:
    """Splits heads, `[B, T, H]` -> `[B, T, N, E]`."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def _attend(query: Array, memory: Memory, dtype: DType, *, causal: bool = False) -> Array:
    """Computes `softmax(q k' / sqrt E) v`, heads joined: `[B, T, N, E]` -> `[B, T, H]`."""
    factors = (query, memory.keys, memory.values)
    if dtype is not None:
        factors = jax.tree.map(lambda x: x.astype(dtype), factors)
    out = jax.nn.dot_product_attention(*factors, mask=memory.mask, is_causal=causal)
    return out.reshape(*out.shape[:-2], -1).astype(query.dtype)


class SelfAttention(nn.Module):
    """Attention of a sentence to itself, without biases (one of the keys would cancel).

    Attributes:
      size: H, in and out.
      heads: N; divides H.
      dtype: of the products' factors, see `jvae.layers.product`.

    References:
      Vaswani et al. (2017), Attention Is All You Need, section 3.2.
    """

    size: int
    heads: int
    dtype: DType = None

    def setup(self):
        """Queries, keys and values in one product, and the output's."""
        dot_general = dense_product(self.dtype)
        self.input = nn.Dense(3 * self.size, use_bias=False, dot_general=dot_general)
        self.output = nn.Dense(self.size, use_bias=False, dot_general=dot_general)

    def _project(self, x: Array) -> tuple[Array, Array, Array]:
        query, key, value = jnp.split(by_row(self.input, x), 3, axis=-1)
        return _heads(query, self.heads), _heads(key, self.heads), _heads(value, self.heads)

    def __call__(self, x: Array, *, mask: Array | None, causal: bool) -> Array:
        """Maps whole sentences, `[B, T, H]` -> `[B, T, H]`.

        Args:
          x: the tokens.
          mask: `[B, T]` bool, which tokens may be seen; None for all.
          causal: whether each token sees only itself and what came before.
        """
        query, key, value = self._project(x)
        seen = None if mask is None else mask[:, None, None, :]
        out = _attend(query, Memory(key, value, seen), self.dtype, causal=causal)
        return by_row(self.output, out)

    def no_past(self, batch_size: int, max_length: int) -> Memory:
        """Returns the cache before the first of `max_length` tokens, `[B, N, max_length, E]`."""
        # Heads come first: at 400 tokens a step on a CPU takes a quarter of the time.
        zeros = jnp.zeros((batch_size, self.heads, max_length, self.size // self.heads))
        return Memory(zeros, zeros)

    def step(self, x: Array, past: Memory, position: Array) -> tuple[Array, Memory]:
        """Reads one more token, `[B, 1, H]` -> `[B, 1, H]`, and returns the cache with it."""
        query, key, value = (jnp.swapaxes(part, 1, 2) for part in self._project(x))
        put = jax.lax.dynamic_update_slice_in_dim
        keys = put(past.keys, key.astype(past.keys.dtype), position, axis=2)
        values = put(past.values, value.astype(past.values.dtype), position, axis=2)
        logits = jnp.einsum("bnte,bnke->bntk", query, keys) / math.sqrt(query.shape[-1])
        logits = jnp.where(jnp.arange(keys.shape[2]) <= position, logits, -jnp.inf)
        out = jnp.einsum("bntk,bnke->btne", jax.nn.softmax(logits), values)
        return by_row(self.output, out.reshape(x.shape)), Memory(keys, values)


class CrossAttention(nn.Module):
    """Attention to a set of vectors: it asks only which of them are there, not their weights.

    Attributes:
      heads: N; divides H.
      size: H of the queries, and of what comes out.
      dtype: of the products' factors, see `jvae.layers.product`.
    """

    heads: int
    size: int
    dtype: DType = None

    def setup(self):
        """Makes one projection for queries, keys and values, and the output's."""
        dot_general = dense_product(self.dtype)
        self.query = nn.Dense(self.size, use_bias=False, dot_general=dot_general)
        self.memory = nn.Dense(2 * self.size, use_bias=False, dot_general=dot_general)
        self.output = nn.Dense(self.size, use_bias=False, dot_general=dot_general)

    def precompute(self, z: VectorSet) -> Memory:
        """Keys and values, once per sentence."""
        # The content of an absent row must not matter, and 0 times NaN would.
        vectors = jnp.where(z.present[..., None], z.vectors, 0)
        key, value = jnp.split(by_row(self.memory, vectors), 2, axis=-1)
        mask = z.present[:, None, None, :]
        return Memory(_heads(key, self.heads), _heads(value, self.heads), mask)

    def attend(self, x: Array, memory: Memory) -> Array:
        """Attends, `[B, T, H]` -> `[B, T, H]`."""
        query = _heads(by_row(self.query, x), self.heads)
        return by_row(self.output, _attend(query, memory, self.dtype))
