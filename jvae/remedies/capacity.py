"""Capacity annealing: the KL is drawn to a target that grows."""

import jax.numpy as jnp

from jvae.objectives import ELBOTerms, Loss
from jvae.remedies.kl_schedules import linear
from jvae.types import Array, Schedule


def capacity(kl_weight: Schedule, target: float = 25.0, steps: int = 100_000) -> Loss:
    """`-log_likelihood + gamma(step) |KL - C(step)|`, nats per sentence; KL of each sentence.

    Args:
      kl_weight: step -> gamma. The source takes a constant 1000.
      target: C rises from 0 to this, nats per sentence.
      steps: in so many steps, linearly; then it stays.

    References:
      Burgess et al. (2018), Understanding disentangling in beta-VAE, equation 8 and appendix A.
    """
    rising = linear(0.0, steps, target)

    def loss(terms: ELBOTerms, step: Array, weight: Array) -> Array:
        del weight
        return kl_weight(step) * jnp.abs(terms.total_kl - rising(step)) - terms.log_likelihood

    return loss
