"""The reparameterised estimator: the gradient passes through the samples."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jvae.distributions import sample_and_log_prob
from jvae.estimators.base import Estimate
from jvae.types import Key, Params


def pathwise(
    f: Callable[[Any], Any], q: Any, keys: Key, *, params: Params = None, carried: Any = None
) -> Estimate:
    """`1/S sum_s f(z_s)`, `z_s = g(noise_s, parameters of q)`.

    Args:
      f: z `[B, ..]` -> a tree of `[B, ..]`.
      q: a family whose samples are differentiable.
      keys: `[S, B]`.
      params: not used.
      carried: not used.

    References:
      Kingma and Welling (2014), Auto-Encoding Variational Bayes, section 2.4.
    """
    del params, carried
    z, log_q = jax.vmap(partial(sample_and_log_prob, q))(keys)
    # One sample needs no vmap, and without it the gradient's products stay two-dimensional.
    if keys.shape[0] == 1:
        return Estimate(f(jax.tree.map(lambda draws: draws[0], z)), z, log_q)
    return Estimate(jax.tree.map(partial(jnp.mean, axis=0), jax.vmap(f)(z)), z, log_q)
