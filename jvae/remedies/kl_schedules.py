"""Schedules of the KL weight, as optax schedules: step -> weight."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jvae.components import NoOptions
from jvae.configs import option
from jvae.types import Array, Schedule


def constant(value: float = 1.0) -> Schedule:
    """`weight = value`: 1 is the ELBO, another value the beta-VAE (Higgins et al., 2017)."""
    return optax.constant_schedule(value)


def linear(start: float, steps: int, end: float = 1.0, delay: int = 0) -> Schedule:
    """`start` to `end` in `steps` steps, then `end` (He et al., 2019: 0.1 to 1 in 10 epochs).

    Args:
      start: the first weight.
      steps: of the ramp.
      end: the last weight.
      delay: steps at `start` before the ramp.
    """
    if steps > 0:
        return optax.linear_schedule(start, end, steps, delay)
    # optax takes no steps for a constant at `start`.
    return optax.join_schedules([constant(start), constant(end)], [delay])


def logistic(midpoint: int, steepness: float, end: float = 1.0) -> Schedule:
    """`end / (1 + exp(-steepness (step - midpoint)))` (Bowman et al., 2016, section 3.1).

    Args:
      midpoint: step at which the weight is half of `end`.
      steepness: per step; the paper's released form uses 0.0025.
      end: the limit.
    """
    return lambda step: end / (1.0 + jnp.exp(-steepness * (jnp.asarray(step) - midpoint)))


# The rise of a ramp of `cyclical`: share of the ramp, 0 to 1 -> share of the rise, 0 to 1.
RAMPS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda share: share,
    "cosine": lambda share: 0.5 - 0.5 * jnp.cos(jnp.pi * share),
    # The released form starts at 0.0025 of the rise, and steps from 0.9975 to 1 at its end.
    "logistic": lambda share: jnp.where(share < 1, jax.nn.sigmoid(12 * share - 6), 1.0),
}


def cyclical(
    period: int,
    cycles: int,
    ramp: float = 0.5,
    start: float = 0.0,
    end: float = 1.0,
    shape: str = "linear",
) -> Schedule:
    """`cycles` times a ramp over the first `ramp` share of `period`, then `end`.

    Args:
      period: steps of one cycle.
      cycles: how many; afterwards the weight stays at `end`.
      ramp: share of a cycle spent rising. The source's default is 0.5, with 4 cycles.
      start: each cycle's first weight.
      end: each cycle's last.
      shape: a key of `RAMPS`.

    References:
      Fu et al. (2019), Cyclical Annealing Schedule, equations 6 to 8; the shapes are those of the
      released schedules.
    """
    share = optax.linear_schedule(0.0, 1.0, max(1, round(ramp * period)))

    def cycle(step: Any) -> Array:
        return start + (end - start) * RAMPS[shape](jnp.asarray(share(step)))

    boundaries = [period * (number + 1) for number in range(cycles)]
    return optax.join_schedules([cycle] * cycles + [optax.constant_schedule(end)], boundaries)


class KLWeight(NamedTuple):
    """Values that all schedules of a configuration share.

    Attributes:
      start: the first weight.
      end: the last.
      steps: of the ramp, up to the midpoint, or of a cycle.
      delay: steps before the ramp.
    """

    start: float
    end: float
    steps: int
    delay: int


@dataclasses.dataclass(frozen=True)
class LogisticOptions:
    """Options of the logistic schedule."""

    steepness: float = option(0.0025, "steepness per step", above=0)


@dataclasses.dataclass(frozen=True)
class CyclicalOptions:
    """Options of the cyclical schedule."""

    cycles: int = option(4, "number of ramps", above=0)
    ramp: float = option(0.5, "share of a cycle spent rising", above=0, at_most=1)
    shape: str = option("linear", "shape of a ramp", choices=RAMPS)


def build_constant(options: NoOptions, shared: KLWeight) -> Schedule:
    """Builds the schedule of a configuration."""
    del options
    return constant(shared.end)


def build_linear(options: NoOptions, shared: KLWeight) -> Schedule:
    """Builds the schedule of a configuration."""
    del options
    return linear(shared.start, shared.steps, shared.end, shared.delay)


def build_logistic(options: LogisticOptions, shared: KLWeight) -> Schedule:
    """Builds the schedule of a configuration."""
    return logistic(shared.steps, options.steepness, shared.end)


def build_cyclical(options: CyclicalOptions, shared: KLWeight) -> Schedule:
    """Builds the schedule of a configuration."""
    period, cycles = shared.steps, options.cycles
    return cyclical(period, cycles, options.ramp, shared.start, shared.end, options.shape)
