"""What training minimises: terms -> one number per sentence."""

from collections.abc import Callable, Mapping
from typing import Any

from jvae.objectives.elbo import ELBOTerms
from jvae.types import Array

# What this step's schedules give, by name: "kl_weight", and what else a loss asks for. It comes
# from outside, so that one compiled step serves every schedule.
Scheduled = Mapping[str, Any]

# `(terms, scheduled, weight) -> [B]`, per sentence: the reduction over the batch, with its mask,
# is the training step's. `weight` `[B]` is the batch's, for losses that look at its mean.
Loss = Callable[[ELBOTerms, Scheduled, Array], Array]


def negative_elbo(terms: ELBOTerms, scheduled: Scheduled, weight: Array) -> Array:
    """`-log_likelihood + kl_weight * KL`, nats per sentence.

    Args:
      terms: of a batch.
      scheduled: `kl_weight`. 1 is the ELBO; a constant beta is the beta-VAE (Higgins et al.,
        2017); a ramp is KL annealing (Bowman et al., 2016); 0 leaves the reconstruction alone,
        as an autoencoder does.
      weight: not used.
    """
    del weight
    return scheduled["kl_weight"] * terms.total_kl - terms.log_likelihood
