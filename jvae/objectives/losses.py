"""Losses: the terms of a bound -> one number per example."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from jvae.objectives.elbo import ELBOTerms
from jvae.types import Array

# The values of this step's schedules by name: "kl_weight", and what else a loss asks for. They come
# from outside, so that one compiled step serves every schedule.
Scheduled = Mapping[str, Any]

# `(terms, scheduled, weight) -> [B]`, per example: the training step reduces over the batch, with
# its mask. `weight` `[B]` is the batch's, for losses that look at its mean.
Loss = Callable[[ELBOTerms, Scheduled, Array], Array]


def batch_mean(values: Array, weight: Array) -> Array:
    """`sum_b weight_b values_b / sum_b weight_b`: the mean over a batch's real rows.

    Losses are per example; this is the one number that an optimiser minimises.

    Args:
      values: `[B]`, of each example; those of weight 0 do not matter, even if they are no numbers.
      weight: `[B]`, of the batch: 0 for rows that only pad it.
    """
    return jnp.sum(jnp.where(weight > 0, values, 0) * weight) / jnp.sum(weight)


def negative_elbo(terms: ELBOTerms, scheduled: Scheduled, weight: Any = None) -> Array:
    """`-log_likelihood + kl_weight * KL`, nats per example; `batch_mean` makes one number of them.

    Args:
      terms: of a batch.
      scheduled: `kl_weight`. 1 is the ELBO; a constant beta is the beta-VAE (Higgins et al.,
        2017); a ramp is KL annealing (Bowman et al., 2016); 0 leaves the reconstruction alone,
        as an autoencoder does.
      weight: not used; other losses look at it.
    """
    del weight
    return scheduled["kl_weight"] * terms.total_kl - terms.log_likelihood


def negative_elbo_by_name(terms: ELBOTerms, scheduled: Scheduled, weight: Array) -> Array:
    """`-log_likelihood + sum_name weight_name KL_name`, nats per example.

    Args:
      terms: of a batch.
      scheduled: `gaussian_weight` and `dirichlet_weight`, for the terms of those names and those of
        an encoder's NVIB layers ("gaussian_layers", "dirichlet_layers"); the first also for the KL
        of one vector. Any other term weighs 1. Henderson and Fehr (2023) divide the
        loss by the inputs T, KL_G by its n vectors and P dimensions, KL_D by n, and weigh them by
        lambda_G and lambda_D: as weights `lambda_G / P` and `lambda_D` do here, but for T / n.
      weight: not used.
    """
    del weight
    total = -terms.log_likelihood
    for name, kl in terms.kl.items():
        kind = "gaussian" if name == "latent" else name.removesuffix("_layers")
        total += scheduled.get(f"{kind}_weight", 1.0) * jnp.sum(kl.reshape(len(kl), -1), axis=-1)
    return total
