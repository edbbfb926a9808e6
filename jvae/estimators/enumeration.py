"""The exact expectation over a discrete latent, and its exact gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jvae.estimators.base import Estimate
from jvae.types import Array, Key, Params


def enumeration(
    f: Callable[[Any], Any], q: Any, keys: Key, *, params: Params = None, carried: Any = None
) -> Estimate:
    """`sum_z q(z) f(z)` over all K values of z.

    Args:
      f: z `[B, ..]` -> a tree of `[B, ..]`.
      q: a family with `support()`.
      keys: `[S, B]`, of the samples that are returned beside the sum.
      params: not used.
      carried: not used.
    """
    del params, carried
    support = q.support()
    weights = jnp.exp(jax.vmap(q.log_prob)(support))

    def expectation(values: Array) -> Array:
        return jnp.sum(weights.reshape(*weights.shape, *(1,) * (values.ndim - 2)) * values, axis=0)

    value = jax.tree.map(expectation, jax.vmap(f)(support))
    return Estimate(value, jax.vmap(q.sample)(keys), None)
