"""Posterior and prior families: what a VAE needs of a distribution, and no more.

A distribution is a NamedTuple of arrays, so that it passes through `jit`, `vmap` and `while_loop`
unchanged, and it samples from one key per sentence. (Library distributions carry their batch shape
as static data, which `vmap` leaves stale; BUILD_NOTES.md, "Distributions".)
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jvae.types import Array, Key


class Distribution(Protocol):
    """A distribution over `[B, L]` latent vectors."""

    @property
    def mean(self) -> Array:
        """`[B, L]`."""
        ...

    @property
    def log_var(self) -> Array:
        """`[B, L]`, minus infinity for no spread."""
        ...

    def sample(self, keys: Key) -> Array:
        """Reparameterised draws, keys `[B]` -> `[B, L]`."""
        ...

    def log_prob(self, z: Array) -> Array:
        """`[B, L]` -> `[B]`, nats."""
        ...


class DiagonalGaussian(NamedTuple):
    """`N(mean, diag(exp(log_var)))`.

    Attributes:
      mean: `[B, L]`.
      log_var: `[B, L]`.
    """

    mean: Array
    log_var: Array

    def sample(self, keys: Key) -> Array:
        """`mean + exp(log_var / 2) * noise`, keys `[B]` -> `[B, L]`."""
        size, dtype = self.mean.shape[-1], self.mean.dtype
        noise = jax.vmap(lambda key: jax.random.normal(key, (size,), dtype))(keys)
        return self.mean + jnp.exp(0.5 * self.log_var) * noise

    def log_prob(self, z: Array) -> Array:
        """`sum_l log N(z_l; mean_l, var_l)`, `[..., B, L]` -> `[..., B]`, nats."""
        quadratic = jnp.square(z - self.mean) * jnp.exp(-self.log_var)
        return -0.5 * jnp.sum(quadratic + self.log_var + math.log(2 * math.pi), axis=-1)


class Delta(NamedTuple):
    """All mass on `mean`: the posterior of an autoencoder. It has no density.

    Attributes:
      mean: `[B, L]`.
    """

    mean: Array

    @property
    def log_var(self) -> Array:
        """`[B, L]` of minus infinity: no spread."""
        return jnp.full_like(self.mean, -jnp.inf)

    def sample(self, keys: Key) -> Array:
        """The mean, whatever the keys."""
        del keys
        return self.mean

    def log_prob(self, z: Array) -> Array:
        """Refused: a point mass has no density, hence no importance weights and no ELBO."""
        raise TypeError(
            "an autoencoder's posterior is a point mass without density: "
            "it has no KL, no ELBO and no importance weights; its reconstruction is defined"
        )


class Inference(NamedTuple):
    """What an encoder with latents of its own gives besides its posterior.

    Attributes:
      posterior: `q(z | x)`.
      terms: by name, `[B]`, nats, what training adds to the KL. They are no part of the bound,
        which holds for any posterior, however it is made.
      figures: by name, `[B]`, what evaluation tells of these latents.
    """

    posterior: Any
    terms: dict[str, Array]
    figures: dict[str, Array]

    @classmethod
    def of(cls, found: Any) -> "Inference":
        """What an encoder gave, be it a posterior alone."""
        return found if isinstance(found, cls) else cls(found, {}, {})


def draw(q: Distribution, keys: Key) -> tuple[Array, Array | None]:
    """A sample `[B, L]`, and `log q` of it, `[B]`, where q tells it with the draw; else None."""
    own = getattr(q, "draw", None)
    return (q.sample(keys), None) if own is None else own(keys)


def _gaussian_kl(q: DiagonalGaussian, p: DiagonalGaussian) -> Array:
    """`1/2 (var_q / var_p + (mean_q - mean_p)^2 / var_p - 1 - log(var_q / var_p))`, `[B, L]`."""
    log_ratio = q.log_var - p.log_var
    squared = jnp.square(q.mean - p.mean) * jnp.exp(-p.log_var)
    # expm1 keeps the digits of var_q / var_p - 1 near collapse, where the KL is tiny.
    return 0.5 * (jnp.expm1(log_ratio) - log_ratio + squared)


# Posterior families that are point masses: without a density.
POINTS: set[type] = {Delta}

# (posterior family, prior family) -> closed form per dimension. Pairs without an entry are
# estimated from the posterior sample (`jvae.elbo`).
ANALYTIC_KL: dict[tuple[type, type], Callable[[Any, Any], Array]] = {
    (DiagonalGaussian, DiagonalGaussian): _gaussian_kl,
    (Delta, DiagonalGaussian): lambda q, p: jnp.zeros_like(q.mean),
}

# The same pairs -> by name, `[B]`, what training takes in place of the KL.
SURROGATE_KL: dict[tuple[type, type], Callable[[Any, Any], dict[str, Array]]] = {}
