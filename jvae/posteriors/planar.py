"""Planar flows: posteriors stretched and squeezed across planes that the encoder chooses."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jvae.configs import option
from jvae.posteriors.family import Family
from jvae.posteriors.flow import Flow, split_base
from jvae.types import Array

# w'u stays above this: at -1 the map folds, and close to it the log determinant has no bound.
LEAST = -0.99


class PlanarStep(NamedTuple):
    """`f(z) = z + u tanh(w'z + b)`, `w'u > -1`.

    Attributes:
      u: `[B, L]`.
      w: `[B, L]`.
      b: `[B]`.
    """

    u: Array
    w: Array
    b: Array

    def forward(self, z: Array) -> tuple[Array, Array]:
        """Returns the image, and `log(1 + w'u tanh'(w'z + b))`."""
        height = jnp.tanh(jnp.sum(self.w * z, axis=-1) + self.b)
        slope = jnp.sum(self.u * self.w, axis=-1) * (1 - jnp.square(height))
        return z + self.u * height[..., None], jnp.log1p(slope)


def planar_step(u: Array, w: Array, b: Array) -> PlanarStep:
    """Makes a step of free parameters: u is moved along w until `w'u > LEAST`.

    `w'u` becomes `LEAST + softplus(w'u + c)`, with c such that 0 stays 0: where u is 0, the step
    is the identity.
    """
    product = jnp.sum(w * u, axis=-1, keepdims=True)
    allowed = LEAST + jax.nn.softplus(product + math.log(math.expm1(-LEAST)))
    # The small number keeps the gradient finite where w is 0.
    squared = jnp.sum(jnp.square(w), axis=-1, keepdims=True) + 1e-12
    return PlanarStep(u + (allowed - product) * w / squared, w, b)


class Planar(nn.Module):
    """`[B, D] -> Flow`, D outputs: the base's `2 L`, and u, w and b of each step.

    Attributes:
      steps: K.
    """

    steps: int

    @nn.compact
    def __call__(self, outputs: Array) -> Flow:
        """Makes the posteriors."""
        size = (outputs.shape[-1] - self.steps) // (2 * self.steps + 2)
        base, rest = split_base(outputs, size)
        steps = []
        for k, part in enumerate(jnp.split(rest, self.steps, axis=-1)):
            u, w, b = jnp.split(part, (size, 2 * size), axis=-1)
            # With u and w both near 0, as the last layer starts, neither has a gradient.
            w += self.param(f"direction_{k}", nn.initializers.normal(size**-0.5), (size,))
            steps.append(planar_step(u, w, b[..., 0]))
        return Flow(base, tuple(steps))


def planar(*, steps: int) -> Family:
    """Makes planar flows, all their parameters from the last layer.

    Args:
      steps: K; each bends the posterior across one plane. Rezende and Mohamed use up to 80.

    References:
      Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, equations 10 to 12
      and appendix A.1.
    """
    return Family(lambda size: 2 * size + steps * (2 * size + 1), Planar(steps))


@dataclasses.dataclass(frozen=True)
class PlanarOptions:
    """Options of planar flows."""

    steps: int = option(2, "planes across which a posterior is bent", above=0)


def build_planar(options: PlanarOptions, shared: Any) -> Family:
    """Builds the family of a configuration."""
    del shared
    return planar(steps=options.steps)
