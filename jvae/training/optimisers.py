"""The optimisers of a run, as optax transformations without a learning rate.

Learning rates, their schedules and the clipping norm are numbers that each step is given, so that
runs which differ in these share a compiled step. An update is `-rate * lr_scale * direction`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from jvae.types import Array, Params

ENCODER = "encoder"  # the parameter group that the inner loop updates

# By name, the direction of an update from a gradient, to be multiplied by a rate.
OPTIMISERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "sgd": optax.identity,
    "adam": optax.scale_by_adam,
}


class Optimisers(NamedTuple):
    """The optimisers of a run.

    Attributes:
      joint: of the model's parameters, and of the objective's groups without one of their own.
      inner: of the encoder alone, in the aggressive phase.
      own: by name, of the objective's groups; with a learning rate of their own.
    """

    joint: optax.GradientTransformation
    inner: optax.GradientTransformation
    own: Mapping[str, optax.GradientTransformation] = {}

    def shared(self, params: Params) -> Params:
        """Returns the groups that the joint optimiser trains."""
        return {name: group for name, group in params.items() if name not in self.own}

    def init(self, params: Params) -> tuple[Any, Any, dict[str, Any]]:
        """Makes the states of joint, inner and own optimisers."""
        own = {name: optimiser.init(params[name]) for name, optimiser in self.own.items()}
        return self.joint.init(self.shared(params)), self.inner.init(params[ENCODER]), own


def clip_factor(norm: Array, max_norm: Array | float) -> Array:
    """Returns `min(1, max_norm / norm)`, the factor of a gradient."""
    return jnp.minimum(1.0, max_norm / jnp.maximum(norm, 1e-12))
