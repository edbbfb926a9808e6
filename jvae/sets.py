"""Latent values that are sets of vectors with weights: a mixture, as attention reads it."""

from typing import NamedTuple

import jax.numpy as jnp

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
        return self.log_weights > -jnp.inf

    @property
    def count(self) -> Array:  # type: ignore[override]  # not tuple.count
        """`[B]`: vectors that are there, float."""
        return jnp.sum(self.present, axis=-1, dtype=self.vectors.dtype)
