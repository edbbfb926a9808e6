"""Diagonal Gaussians, point masses, and the distribution of no latent at all."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jvae.types import Array, Key


class DiagonalGaussian(NamedTuple):
    """`N(mean, diag(exp(log_var)))`.

    Attributes:
      mean: `[B, L]`.
      log_var: `[B, L]`.
    """

    mean: Array
    log_var: Array

    @property
    def factorised_gaussian(self) -> bool:
        """True: `mean` and `log_var` say all."""
        return True

    def sample(self, keys: Key) -> Array:
        """Returns `mean + exp(log_var / 2) * noise`, keys `[B]` -> `[B, L]`."""
        size, dtype = self.mean.shape[-1], self.mean.dtype
        noise = jax.vmap(lambda key: jax.random.normal(key, (size,), dtype))(keys)
        return self.mean + jnp.exp(0.5 * self.log_var) * noise

    def log_prob(self, z: Array) -> Array:
        """Returns `sum_l log N(z_l; mean_l, var_l)`, `[..., B, L]` -> `[..., B]`, nats."""
        quadratic = jnp.square(z - self.mean) * jnp.exp(-self.log_var)
        return -0.5 * jnp.sum(quadratic + self.log_var + math.log(2 * math.pi), axis=-1)

    def entropy(self) -> Array:
        """Returns `sum_l (log var_l + log 2 pi + 1) / 2`, `[B]`, nats."""
        return 0.5 * jnp.sum(self.log_var + math.log(2 * math.pi) + 1, axis=-1)

    def kl_to(self, p: Any) -> Array:
        """Returns `[B, L]`, nats, or NotImplemented.

        `1/2 (var_q / var_p + (mean_q - mean_p)^2 / var_p - 1 - log(var_q / var_p))`.
        """
        if not isinstance(p, DiagonalGaussian):
            return NotImplemented
        log_ratio = self.log_var - p.log_var
        squared = jnp.square(self.mean - p.mean) * jnp.exp(-p.log_var)
        # expm1 keeps the digits of var_q / var_p - 1 near collapse, where the KL is tiny.
        return 0.5 * (jnp.expm1(log_ratio) - log_ratio + squared)


class Delta(NamedTuple):
    """All mass on `mean`: the posterior of an autoencoder.

    Attributes:
      mean: `[B, L]`.
    """

    mean: Array

    @property
    def has_density(self) -> bool:
        """False: all mass lies on one value."""
        return False

    @property
    def factorised_gaussian(self) -> bool:
        """True: `mean` and `log_var` say all."""
        return True

    @property
    def log_var(self) -> Array:
        """`[B, L]` of minus infinity: no spread."""
        return jnp.full_like(self.mean, -jnp.inf)

    def sample(self, keys: Key) -> Array:
        """Returns the mean; the keys do not matter."""
        del keys
        return self.mean

    def log_prob(self, z: Array) -> Array:
        """Raises a TypeError: without a density there are no importance weights and no ELBO."""
        raise TypeError(
            "an autoencoder's posterior is a point mass without density: "
            "it has no KL, no ELBO and no importance weights; its reconstruction is defined"
        )

    def kl_to(self, p: Any) -> Array:
        """Counts as 0, `[B, L]`: an autoencoder's loss has no KL."""
        return jnp.zeros_like(self.mean) if isinstance(p, DiagonalGaussian) else NotImplemented


class NoLatent(NamedTuple):
    """The posterior of a language model, which has no latent: z is `[B, 0]`.

    Attributes:
      z: `[B, 0]`, the one value.
    """

    z: Array

    @property
    def is_empty(self) -> bool:
        """True: there is no latent."""
        return True

    @property
    def mean(self) -> Array:
        """`[B, 0]`."""
        return self.z

    @property
    def log_var(self) -> Array:
        """`[B, 0]`."""
        return self.z

    def sample(self, keys: Key) -> Array:
        """Returns `[B, 0]`."""
        del keys
        return self.z

    def log_prob(self, z: Array) -> Array:
        """Returns zeros, `[..., B, 0]` -> `[..., B]`: the value is certain."""
        return jnp.zeros(z.shape[:-1], z.dtype)

    def kl_to(self, p: Any) -> Array:
        """Returns `[B, 0]`: whatever the prior, nothing is paid."""
        del p
        return self.z
