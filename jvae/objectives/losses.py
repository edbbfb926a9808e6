"""What training minimises: terms -> one number per sentence."""

from collections.abc import Callable

from jvae.objectives.elbo import ELBOTerms
from jvae.types import Array, Schedule

# `(terms, step, weight) -> [B]`, per sentence: the reduction over the batch, with its mask, is the
# training step's. `weight` is the batch's, for the losses that look at its mean.
Loss = Callable[[ELBOTerms, Array, Array], Array]


def negative_elbo(kl_weight: Schedule) -> Loss:
    """`-log_likelihood + weight(step) * KL`, nats per sentence.

    Args:
      kl_weight: step -> weight. Constant 1 is the ELBO; constant beta is the beta-VAE (Higgins et
        al., 2017); a ramp is KL annealing (Bowman et al., 2016); constant 0 leaves the
        reconstruction alone, as an autoencoder does.
    """

    def loss(terms: ELBOTerms, step: Array, weight: Array) -> Array:
        del weight
        return kl_weight(step) * terms.total_kl - terms.log_likelihood

    return loss
