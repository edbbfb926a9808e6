"""Paths between two latent vectors, to decode the sentences in between."""

import jax.numpy as jnp

from jvae.distributions.sets import VectorSet
from jvae.errors import UserError
from jvae.types import Array


def linear(z0: Array, z1: Array, steps: int) -> Array:
    """Returns points on the straight line, `z(t) = (1 - t) z0 + t z1`, `t = 0 .. 1`.

    Between two draws of a wide Gaussian the middle is shorter than either, where the prior has
    little mass: see `spherical`.

    Args:
      z0: `[..., L]`.
      z1: `[..., L]`.
      steps: points, both ends included.

    Returns:
      `[steps, ..., L]`; the ends are `z0` and `z1` exactly.

    Raises:
      UserError: fewer than 2 steps.

    Source: Bowman et al. 2016, section 5 ("homotopies").
    """
    t = _times(steps, z0)
    return (1 - t) * z0 + t * z1


def spherical(z0: Array, z1: Array, steps: int) -> Array:
    """Returns points on the great circle between the directions; the norm changes linearly.

    `z(t) = r(t) (sin((1 - t) w) z0 / |z0| + sin(t w) z1 / |z1|) / sin(w)`, with `w` the angle
    between `z0` and `z1` and `|z(t)| = r(t) = (1 - t) |z0| + t |z1|`. Where no circle is defined
    (parallel or opposite vectors, a zero vector) it is the straight line.

    Args:
      z0: `[..., L]`.
      z1: `[..., L]`.
      steps: points, both ends included.

    Returns:
      `[steps, ..., L]`; the ends are `z0` and `z1` exactly.

    Raises:
      UserError: fewer than 2 steps.

    Source: Shoemake 1985 (the circle); White 2016, section 2.1 (for latent spaces).
    """
    t = _times(steps, z0)
    norm0 = jnp.linalg.norm(z0, axis=-1, keepdims=True)
    norm1 = jnp.linalg.norm(z1, axis=-1, keepdims=True)
    some = (norm0 > 0) & (norm1 > 0)
    norm0, norm1 = jnp.where(some, norm0, 1.0), jnp.where(some, norm1, 1.0)

    # Unlike arccos of the inner product, this keeps the digits of small angles.
    across = jnp.linalg.norm(z0 / norm0 - z1 / norm1, axis=-1, keepdims=True)
    along = jnp.linalg.norm(z0 / norm0 + z1 / norm1, axis=-1, keepdims=True)
    angle = 2 * jnp.arctan2(across, along)
    sine = jnp.sin(angle)
    # The ends keep the weights of the line, 1 and 0, hence are exact.
    circle = some & (sine > 1e-4) & (t > 0) & (t < 1)
    sine = jnp.where(circle, sine, 1.0)

    radius = (1 - t) * norm0 + t * norm1
    weight0 = jnp.where(circle, jnp.sin((1 - t) * angle) / sine * (radius / norm0), 1 - t)
    weight1 = jnp.where(circle, jnp.sin(t * angle) / sine * (radius / norm1), t)
    return weight0 * z0 + weight1 * z1


def union(first: VectorSet, second: VectorSet, steps: int) -> VectorSet:
    """Joins both sets in one, with weights `1 - t` and `t`, `t = 0 .. 1`.

    Args:
      first: of one sentence, `[K, P]`, its weights summing to 1.
      second: `[K', P]`.
      steps: points, both ends included.

    Returns:
      `[steps, K + K', P]`; at the ends the other set is absent.

    Raises:
      UserError: fewer than 2 steps.

    Source: Henderson and Fehr 2023, as their code does it.
    """
    t = _times(steps, first.log_weights)
    weights = jnp.log1p(-t) + first.log_weights, jnp.log(t) + second.log_weights

    def at_each(name: str) -> Array:
        rows = jnp.concatenate([getattr(first, name), getattr(second, name)])
        return jnp.broadcast_to(rows, (steps, *rows.shape))

    log_vars = None if first.log_vars is None else at_each("log_vars")
    return VectorSet(at_each("vectors"), jnp.concatenate(weights, axis=-1), log_vars)


def aligned(first: VectorSet, second: VectorSet, steps: int) -> VectorSet:
    """Returns straight lines between vectors of the same place, a missing one taken as zero.

    For sets whose weights say nothing: a vector is there if it is in either.

    Args:
      first: of one sentence, `[K, P]`, without variances.
      second: `[K, P]`.
      steps: points, both ends included.

    Returns:
      `[steps, K, P]`; the ends are the two sets exactly.

    Raises:
      UserError: fewer than 2 steps.

    Source: Henderson and Fehr 2023, their baselines.
    """
    start, end = (jnp.where(one.present[:, None], one.vectors, 0) for one in (first, second))
    vectors, t = linear(start, end, steps), _times(steps, first.log_weights)
    there = ((t < 1) & first.present) | ((t > 0) & second.present)
    return VectorSet(vectors, jnp.where(there, 0.0, -jnp.inf))


def _times(steps: int, z: Array) -> Array:
    """Returns `0 .. 1`, `[steps, 1, .., 1]`, to broadcast against `z`."""
    if steps < 2:
        raise UserError(f"{steps} interpolation steps: give at least 2, the two ends")
    return jnp.linspace(0.0, 1.0, steps, dtype=z.dtype).reshape(steps, *(1,) * z.ndim)
