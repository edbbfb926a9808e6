"""Gaussian posteriors with a full covariance."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jvae.distributions import DiagonalGaussian
from jvae.posteriors.family import Family
from jvae.types import Array, Key


class FullGaussian(NamedTuple):
    """`N(mean, C C')` with C lower triangular.

    References:
      Kingma and Welling (2019), An Introduction to Variational Autoencoders, section 2.5.1.

    Attributes:
      mean: `[B, L]`.
      factor: C, `[B, L, L]`, its diagonal positive.
    """

    mean: Array
    factor: Array

    @property
    def log_var(self) -> Array:
        """`[B, L]`: the logs of the covariance's diagonal."""
        return jnp.log(jnp.sum(jnp.square(self.factor), axis=-1))

    def sample(self, keys: Key) -> Array:
        """Draws `mean + C noise`, keys `[B]` -> `[B, L]`."""
        noise = DiagonalGaussian(jnp.zeros_like(self.mean), jnp.zeros_like(self.mean)).sample(keys)
        return self.mean + jnp.einsum("bij,bj->bi", self.factor, noise)

    def log_prob(self, z: Array) -> Array:
        """Returns `log N(z; mean, C C')`, `[..., B, L]` -> `[..., B]`, nats."""
        solve = partial(jax.scipy.linalg.solve_triangular, lower=True)
        noise = jnp.vectorize(solve, signature="(l,l),(l)->(l)")(self.factor, z - self.mean)
        quadratic = jnp.sum(jnp.square(noise) + math.log(2 * math.pi), axis=-1)
        return -0.5 * quadratic - _half_log_det(self.factor)

    def kl_to(self, p: Any) -> Array:
        """`1/2 (sum_l (Cov_ll + (mean - mean_p)_l^2) / var_p_l - L + log det_p - log det_q)`."""
        if not isinstance(p, DiagonalGaussian):
            return NotImplemented
        second = jnp.exp(self.log_var) + jnp.square(self.mean - p.mean)
        terms = jnp.sum(second * jnp.exp(-p.log_var) + p.log_var - 1, axis=-1)
        return 0.5 * terms - _half_log_det(self.factor)


def _half_log_det(factor: Array) -> Array:
    return jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)


def _posterior(outputs: Array) -> FullGaussian:
    """Splits outputs into L means, L log variances of the factor's diagonal, the entries below."""
    # L (L + 1) / 2 + L = D
    size = (math.isqrt(9 + 8 * outputs.shape[-1]) - 3) // 2
    mean, log_scale, below = jnp.split(outputs, (size, 2 * size), axis=-1)
    factor = jnp.exp(0.5 * log_scale)[..., None] * jnp.eye(size)
    rows, columns = jnp.tril_indices(size, -1)
    return FullGaussian(mean, factor.at[..., rows, columns].set(below))


def full() -> Family:
    """Gaussians with all covariances."""
    return Family(lambda size: size + size * (size + 1) // 2, _posterior)
