"""Objectives whose KL weight follows the KL itself, so that a rate is held."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from jvae.batch import Batch
from jvae.configs import option
from jvae.objectives import Groups, Objective, Outcome, Scheduled
from jvae.types import Array, Key, Params

NAME = "rate_control"  # of its part of the carried state and of the statistics


class RateControl(NamedTuple):
    """A KL weight with a state.

    Attributes:
      init: `() -> state`.
      kl_weight: `state -> weight`: training minimises `-log_likelihood + weight * KL`.
      update: `(state, mean KL of the update's batch) -> state`.
    """

    init: Callable[[], Any]
    kl_weight: Callable[[Any], Array]
    update: Callable[[Any, Array], Any]


def with_rate_control(objective: Objective, control: RateControl) -> Objective:
    """Replaces the KL's weight 1 by that of `control`.

    The state is carried, not a parameter: as one it would take part in the clipping norm and decay
    with the learning rate. The update reads sums over all rows, so that microbatches and devices
    change nothing.

    Args:
      objective: with a KL of weight 1 in its losses.
      control: `minimum_rate` or `soft_free_bits`.
    """

    def init(key: Key, params: Params) -> Groups:
        groups = objective.init(key, params)
        return groups._replace(carried=groups.carried | {NAME: control.init()})

    def apply(
        params: Params,
        carried: Mapping[str, Any],
        batch: Batch,
        *,
        key: Key,
        scheduled: Scheduled,
    ) -> Outcome:
        outcome = objective.apply(params, carried, batch, key=key, scheduled=scheduled)
        kl = outcome.terms.total_kl
        losses = outcome.losses + (control.kl_weight(carried[NAME]) - 1) * kl
        counted = {"kl": jnp.sum(kl * batch.weight), "rows": jnp.sum(batch.weight)}
        return outcome._replace(losses=losses, statistics=outcome.statistics | {NAME: counted})

    def after(
        params: Params, carried: Mapping[str, Any], statistics: Mapping[str, Any]
    ) -> tuple[Params, dict[str, Any]]:
        params, new = objective.after(params, carried, statistics)
        mean = statistics[NAME]["kl"] / statistics[NAME]["rows"]
        return params, new | {NAME: control.update(carried[NAME], mean)}

    def describe(carried: Mapping[str, Any], scheduled: Scheduled) -> dict[str, Any]:
        weight = control.kl_weight(carried[NAME])
        return objective.describe(carried, scheduled) | {"kl_weight": weight}

    return objective._replace(init=init, apply=apply, after=after, describe=describe)


def minimum_rate(rate: float = 5.0, learning_rate: float = 1e-3) -> RateControl:
    """`min_params max_{u >= 0} -log_likelihood + KL + u (rate - KL)`: the constraint `KL >= rate`.

    The weight is thus `1 - u`, below 0 while the KL must be driven up, and the constant `u rate`
    stays out of the loss. u ascends its gradient `rate - KL` by RMSprop and starts at 1.01, as in
    the released script; it is held at 0 or above, where the script takes `|u|`.

    Args:
      rate: nats per example.
      learning_rate: of u. The script gives it that of its Adam, 0.001.

    References:
      Pelsmaeker and Aziz (2020), Effective Estimation of Deep Generative Language Models (minimum
      desired rate).
    """
    optimiser = optax.rmsprop(learning_rate, decay=0.99)

    def init() -> tuple[Array, Any]:
        multiplier = jnp.float32(1.01)
        return multiplier, optimiser.init(multiplier)

    def update(state: tuple[Array, Any], kl: Array) -> tuple[Array, Any]:
        multiplier, opt_state = state
        step, opt_state = optimiser.update(kl - rate, opt_state, multiplier)  # it descends
        return jnp.maximum(multiplier + step, 0), opt_state

    return RateControl(init, lambda state: 1 - state[0], update)


def soft_free_bits(
    rate: float = 5.0, threshold: float = 0.05, factor: float = 1.1, start: float = 1.0
) -> RateControl:
    """`-log_likelihood + gamma KL`, `0 < gamma <= 1`: gamma falls below the rate, rises above it.

    After each update gamma is divided by `factor` if the batch's KL is below `rate`, and multiplied
    by it, up to 1, if it is above `(1 + threshold) rate`.

    Args:
      rate: nats per example.
      threshold: the source's 5 %.
      factor: the source's increments of 10 %.
      start: the first gamma: the bound itself. The source names none.

    References:
      Chen et al. (2017), Variational Lossy Autoencoder, appendix C. The floor of 0.0001, from
      which gamma is back at 1 after 97 updates, is that of Pelsmaeker and Aziz's script.
    """

    def update(gamma: Array, kl: Array) -> Array:
        exponent = jnp.where(kl > (1 + threshold) * rate, 1.0, jnp.where(kl < rate, -1.0, 0.0))
        return jnp.clip(gamma * factor**exponent, 1e-4, 1.0)

    return RateControl(lambda: jnp.float32(start), lambda gamma: gamma, update)


@dataclasses.dataclass(frozen=True)
class MinimumRateOptions:
    """Options of the minimum desired rate."""

    rate: float = option(5.0, "least KL, nats per example", above=0)
    learning_rate: float = option(1e-3, "learning rate of the multiplier", above=0)


@dataclasses.dataclass(frozen=True)
class SoftFreeBitsOptions:
    """Options of soft free bits."""

    rate: float = option(5.0, "the KL, nats per example", above=0)
    factor: float = option(
        1.1, "by which an update changes the weight; nearer 1: smoother", above=1
    )


def build_minimum_rate(options: MinimumRateOptions, shared: Any) -> RateControl:
    """Builds the rate control of a configuration."""
    del shared
    return minimum_rate(options.rate, options.learning_rate)


def build_soft_free_bits(options: SoftFreeBitsOptions, shared: Any) -> RateControl:
    """Builds the rate control of a configuration."""
    del shared
    return soft_free_bits(options.rate, factor=options.factor)
