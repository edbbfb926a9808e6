"""Losses as configurations choose them: with the schedules that they ask for."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from jvae.components import NoOptions, Rule
from jvae.configs import option
from jvae.objectives import Loss, negative_elbo, negative_elbo_by_name
from jvae.types import Schedule

# (name of a KL schedule, its epochs, epochs of delay) -> schedule; "" is the configuration's own.
ScheduleOf = Callable[[str, float, float], Schedule]


class ScheduledLoss(NamedTuple):
    """A loss, and the schedules that it asks for beside "kl_weight".

    Attributes:
      loss: terms -> `[B]`.
      schedules: `ScheduleOf -> schedules` by name.
    """

    loss: Loss
    schedules: Callable[[ScheduleOf], dict[str, Schedule]] = lambda schedule_of: {}


def build_elbo(options: NoOptions, shared: Any) -> ScheduledLoss:
    """Builds the negative ELBO."""
    del options, shared
    return ScheduledLoss(negative_elbo)


@dataclasses.dataclass(frozen=True)
class ByNameOptions:
    """Options of KL terms with weights of their own; the KL schedule multiplies both."""

    gaussian_weight: float = option(1.0, "weight of the vectors' KL, in nats", at_least=0)
    dirichlet_weight: float = option(1.0, "weight of the KL of their weights", at_least=0)
    dirichlet_schedule: str = option(
        "",
        "separate schedule of that weight, with the next two options; empty: kl_schedule",
        choices=("", "constant", "linear", "logistic", "cyclical"),
    )
    dirichlet_epochs: float = option(10.0, "kl_epochs of that schedule", above=0)
    dirichlet_delay: float = option(0.0, "kl_delay of that schedule", at_least=0)


def build_by_name(options: ByNameOptions, shared: Any) -> ScheduledLoss:
    """Builds the loss of a configuration."""
    del shared

    def schedules(schedule_of: ScheduleOf) -> dict[str, Schedule]:
        epochs, delay = options.dirichlet_epochs, options.dirichlet_delay
        return {
            "gaussian_weight": times(options.gaussian_weight, schedule_of("", 0, 0)),
            "dirichlet_weight": times(
                options.dirichlet_weight, schedule_of(options.dirichlet_schedule, epochs, delay)
            ),
        }

    return ScheduledLoss(negative_elbo_by_name, schedules)


DELAYED_RAMP = Rule(
    lambda config: (
        not config.objective.by_name.dirichlet_delay
        or config.objective.by_name.dirichlet_schedule == "linear"
    ),
    lambda config: (
        f"objective.by_name.dirichlet_delay = {config.objective.by_name.dirichlet_delay} needs "
        "objective.by_name.dirichlet_schedule = 'linear', whose ramp it delays"
    ),
)


def times(factor: float, schedule: Schedule) -> Schedule:
    """Multiplies a schedule."""
    return schedule if factor == 1 else lambda step: factor * schedule(step)
