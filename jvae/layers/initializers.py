"""Initial weights."""

import jax
from flax import linen as nn

from jvae.types import Array, Key


def symmetric_uniform(scale: float) -> nn.initializers.Initializer:
    """`U(-scale, scale)`, the initialisation of He et al. (2019) and Li et al. (2019)."""

    def init(key: Key, shape, dtype=jax.numpy.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -scale, scale)

    return init
