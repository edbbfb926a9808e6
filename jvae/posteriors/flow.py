"""Posteriors bent by invertible maps: `z = f_K(.. f_1(z_0))`, `z_0` from a diagonal Gaussian."""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jvae.distributions import DiagonalGaussian
from jvae.types import Array, Key


class FlowStep(Protocol):
    """An invertible map of `[B, L]`, its parameters one for each sentence or for all."""

    def forward(self, z: Array) -> tuple[Array, Array]:
        """Returns the image of z, `[B, L]`, and `log |det d image / d z|`, `[B]`."""
        ...


class Flow(NamedTuple):
    """`log q(z) = log N(z_0) - sum_k log |det d f_k|`, known of its own draws alone.

    Its KL has no closed form: `jvae.elbo` estimates it.

    References:
      Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, equations 6 and 7.

    Attributes:
      base: of `z_0`.
      steps: the maps, in the order of sampling.
    """

    base: DiagonalGaussian
    steps: tuple[FlowStep, ...]

    @property
    def mean(self) -> Array:
        """`[B, L]`: the image of the base's mean; `E z` itself has no closed form."""
        return self.image(self.base.mean)[0]

    @property
    def log_var(self) -> Array:
        """`[B, L]`: of the flow made linear at the base's mean."""
        deviations = jnp.exp(0.5 * self.base.log_var)

        def along(axis: Array) -> Array:
            tangent = (deviations * axis,)
            return jax.jvp(lambda z: self.image(z)[0], (self.base.mean,), tangent)[1]

        moved = jax.vmap(along)(jnp.eye(deviations.shape[-1], dtype=deviations.dtype))
        return jnp.log(jnp.sum(jnp.square(moved), axis=0))

    def image(self, z: Array) -> tuple[Array, Array]:
        """Maps a `z_0` `[B, L]` to z, and returns the log determinant of the whole map, `[B]`."""
        log_det = jnp.zeros(z.shape[:-1], z.dtype)
        for step in self.steps:
            z, of_step = step.forward(z)
            log_det += of_step
        return z, log_det

    def sample_and_log_prob(self, keys: Key) -> tuple[Array, Array]:
        """Draws z with its `log q`, keys `[B]` -> `[B, L]` and `[B]`, nats."""
        start = self.base.sample(keys)
        z, log_det = self.image(start)
        return z, self.base.log_prob(start) - log_det

    def sample(self, keys: Key) -> Array:
        """Draws from the base and maps it, keys `[B]` -> `[B, L]`."""
        return self.sample_and_log_prob(keys)[0]

    def log_prob(self, z: Array) -> Array:
        """Raises a TypeError: a flow has no stable inverse; see `sample_and_log_prob`."""
        raise TypeError(
            "a flow knows the density of its own samples alone: call sample_and_log_prob(keys)"
        )


def split_base(outputs: Array, size: int) -> tuple[DiagonalGaussian, Array]:
    """Splits outputs into the base, from the first `2 L`, and the others."""
    mean, log_var, rest = jnp.split(outputs, (size, 2 * size), axis=-1)
    return DiagonalGaussian(mean, log_var), rest
