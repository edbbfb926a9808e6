"""Optimisers by name, as optax transformations."""

from collections.abc import Callable

import jax.numpy as jnp
import optax

from jvae.types import Array

# The learning rate's halvings and the clipping are applied in the step: both are shared between
# the joint and the encoder-only optimiser.
OPTIMISERS: dict[str, Callable[[optax.ScalarOrSchedule], optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "adam": optax.adam,
}


def clip_factor(norm: Array, max_norm: float) -> Array:
    """`min(1, max_norm / norm)`: what a gradient is multiplied by."""
    return jnp.minimum(1.0, max_norm / jnp.maximum(norm, 1e-12))
