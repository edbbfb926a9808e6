"""Types that every layer shares, and the letters that name array axes.

B examples of a batch, T predicted tokens, V vocabulary, E embedding, H hidden, L latent,
S or K samples, N examples of a split.
"""

from collections.abc import Callable
from typing import Any

import jax

Array = jax.Array
Key = jax.Array  # a typed PRNG key, `jax.random.key(seed)`, or an array of them
Params = Any  # a pytree of arrays
DType = Any  # a floating-point type, or None where arrays keep their own
Schedule = Callable[[Any], Any]  # step -> value, as in optax
