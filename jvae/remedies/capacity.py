"""Capacity annealing: the KL is drawn to a target that grows."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from jvae.configs import option
from jvae.objectives import ELBOTerms, Scheduled
from jvae.remedies.by_name import ScheduledLoss
from jvae.remedies.kl_schedules import linear
from jvae.types import Array


def capacity(terms: ELBOTerms, scheduled: Scheduled, weight: Array) -> Array:
    """`-log_likelihood + gamma |KL - C|`, nats per example; KL of each sentence.

    Args:
      terms: of a batch.
      scheduled: `kl_weight` is gamma, which the source keeps at 1000; `capacity` is C, nats per
        sentence, which rises from 0 linearly, to 25 in the source.
      weight: not used.

    References:
      Burgess et al. (2018), Understanding disentangling in beta-VAE, equation 8 and appendix A.
    """
    del weight
    distance = jnp.abs(terms.total_kl - scheduled["capacity"])
    return scheduled["kl_weight"] * distance - terms.log_likelihood


@dataclasses.dataclass(frozen=True)
class CapacityOptions:
    """Options of capacity annealing."""

    target: float = option(25.0, "the last target, nats per example", above=0)
    steps: int = option(100_000, "steps until the last target", above=0)


def build_capacity(options: CapacityOptions, shared: Any) -> ScheduledLoss:
    """Builds the loss of a configuration."""
    del shared
    target = linear(0.0, options.steps, options.target)
    return ScheduledLoss(capacity, lambda schedule_of: {"capacity": target})
