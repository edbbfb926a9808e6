"""Adversarial matching of the aggregate posterior: a discriminator tells posterior from prior."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jvae.batch import Batch
from jvae.model import VAE
from jvae.objectives import Groups, Objective, Outcome, Scheduled, gradient_of
from jvae.random import Stream, stream
from jvae.remedies.aggregate import prior_draws
from jvae.types import Array, Key, Params

NAME = "discriminator"  # of its parameter group


class Discriminator(nn.Module):
    """`logit D(z) = w' relu(W z + b) + c`: is z a draw from the prior?

    Attributes:
      hidden_size: of the hidden layer.
    """

    hidden_size: int

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Computes the logit of "from the prior": `[..., L]` -> `[...]`."""
        hidden = nn.relu(nn.Dense(self.hidden_size)(z))
        return nn.Dense(1)(hidden)[..., 0]


def with_adversary(
    objective: Objective,
    model: VAE,
    latent_size: int,
    *,
    weight: float = 10.0,
    hidden_size: int = 512,
    learning_rate: float = 5e-4,
) -> Objective:
    """Adds the encoder's `-weight log D(z)`; D learns by `-log D(y) - log(1 - D(z))`.

    y is drawn from the prior, z from the posterior (AAE). Both sides are updated at once, the
    discriminator by an Adam of its own, without clipping and learning-rate decay. With a damaged
    input (`jvae.remedies.with_denoising`) it is DAAE.

    Args:
      objective: of a bound.
      model: the VAE, whose prior is compared with.
      latent_size: L.
      weight: the source's 10.
      hidden_size: the source's 512.
      learning_rate: of the discriminator. The source gives it that of the model, 0.0005.

    References:
      Makhzani et al. (2015), Adversarial Autoencoders; Shen et al. (2020), Educating Text
      Autoencoders, and its script, from which the numbers are (betas 0.5 and 0.999 too).
    """
    network = Discriminator(hidden_size)

    def logits(params: Params, z: Array) -> Any:
        return network.apply({"params": params}, z)

    def init(key: Key, params: Params) -> Groups:
        groups = objective.init(key, params)
        own = network.init(stream(key, Stream.AGGREGATE), jnp.zeros((1, latent_size)))["params"]
        return groups._replace(params=groups.params | {NAME: own})

    def apply(
        params: Params,
        carried: Mapping[str, Any],
        batch: Batch,
        *,
        key: Key,
        scheduled: Scheduled,
    ) -> Outcome:
        outcome = objective.apply(params, carried, batch, key=key, scheduled=scheduled)
        z, own = outcome.terms.z, params[NAME]
        fixed = jax.lax.stop_gradient(own)
        cost = weight * jnp.mean(nn.softplus(-logits(fixed, z)), axis=0)
        draws = prior_draws(model, params, batch, stream(key, Stream.ADVERSARY))
        of_posterior = jnp.mean(nn.softplus(logits(own, jax.lax.stop_gradient(z))), axis=0)
        of_prior = nn.softplus(-logits(own, jax.lax.stop_gradient(draws)))
        # The discriminator's loss trains it and is no part of the model's.
        losses = outcome.losses + cost + gradient_of(of_posterior + of_prior)
        return outcome._replace(losses=losses)

    optimiser = optax.adam(learning_rate, b1=0.5, b2=0.999)
    optimisers = dict(objective.optimisers) | {NAME: optimiser}
    return objective._replace(init=init, apply=apply, optimisers=optimisers)
