"""Families of posteriors: functions of an encoder's last layer."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jvae.distributions import DiagonalGaussian, Distribution
from jvae.types import Array


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of posteriors over `[B, L]`.

    Attributes:
      size: L -> outputs D that the last layer needs.
      posterior: `[B, D] -> distribution`, a function, or a Flax module with parameters of its
        own, which the encoder takes in.
    """

    size: Callable[[int], int]
    posterior: Callable[[Array], Distribution]


@dataclasses.dataclass(frozen=True)
class TokenFamily:
    """A family of posteriors over sets of vectors, `jvae.VectorSet`, made of all tokens.

    Attributes:
      posterior: `(hidden [B, T, H], mask [B, T], *, train) -> distribution`, mask True of real
        tokens; a function, or a Flax module with parameters of its own, which the encoder takes in.
        The distribution has `sample(keys [B])` and `log_prob(z)`, `mean`, a set, `pooled`, a
        vector `[B, P]` of the sentence, and `kept` `[B]`, how many vectors the sentence has.
      count: tokens `[N]` int -> vectors `[N]` int, before training, when nothing is deleted.
    """

    posterior: Callable[..., Any]
    count: Callable[[np.ndarray], np.ndarray] = lambda lengths: lengths


def _diagonal(outputs: Array) -> DiagonalGaussian:
    return DiagonalGaussian(*jnp.split(outputs, 2, axis=-1))


DIAGONAL = Family(lambda size: 2 * size, _diagonal)


def diagonal() -> Family:
    """Gaussians with a diagonal covariance, the encoder's means and log variances."""
    return DIAGONAL
