"""Latent values that are sets of vectors with weights: a mixture, as attention reads it."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jvae.types import Array


class VectorSet(NamedTuple):
    """`sum_i weight_i N(vectors_i, diag(exp(log_vars_i)))`, or impulses at the vectors.

    Rows are padded: one of weight 0 is absent, whatever else it holds.

    Attributes:
      vectors: `[B, K, P]`.
      log_weights: `[B, K]`, minus infinity for what is absent. Attention without denoising asks
        only whether a vector is there.
      log_vars: `[B, K, P]`, or None for impulses: what a sample of the posterior is made of.
    """

    vectors: Array
    log_weights: Array
    log_vars: Array | None = None

    @property
    def present(self) -> Array:
        """`[B, K]` bool."""
        return self.log_weights != -jnp.inf

    @property
    def count(self) -> Array:  # type: ignore[override]  # not tuple.count
        """`[B]`: vectors that are there, float."""
        return jnp.sum(self.present, axis=-1, dtype=self.vectors.dtype)

    @property
    def pooled(self) -> Array:
        """`sum_i weight_i vectors_i / sum_i weight_i`, `[B, P]`; zero of no vectors."""
        largest = jnp.max(self.log_weights, axis=-1, keepdims=True)
        weights = jnp.exp(self.log_weights - jnp.where(largest == -jnp.inf, 0, largest))
        vectors = jnp.where(self.present[..., None], self.vectors, 0)
        total = jnp.einsum("...k,...kp->...p", weights, vectors)
        return total / jnp.maximum(jnp.sum(weights, axis=-1, keepdims=True), 1)


def widened(some: VectorSet, size: int) -> VectorSet:
    """Adds absent rows to sets until there are `size`, as NumPy arrays."""

    def filled(rows: Array, value: float) -> Any:
        missing = size - rows.shape[1]
        widths = [(0, 0), (0, missing)] + [(0, 0)] * (rows.ndim - 2)
        return np.pad(np.asarray(rows), widths, constant_values=value)

    log_vars = None if some.log_vars is None else filled(some.log_vars, 0)
    return VectorSet(filled(some.vectors, 0), filled(some.log_weights, -np.inf), log_vars)
