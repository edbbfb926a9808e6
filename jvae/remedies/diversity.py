"""Diverse means and certain variances of the posterior (DU-VAE): normalisation and dropout."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jvae.batch import Batch
from jvae.configs import option
from jvae.distributions import DiagonalGaussian
from jvae.model import Encoder, Inference
from jvae.random import Stream, example_keys, stream
from jvae.remedies.batch_norm import batch_norm
from jvae.types import Key, Params

NAME = "diversity"  # of its part of the encoder's parameters
# The variance of a Gaussian with entropy 0: no posterior is narrower.
FLOOR = 1 / (2 * math.pi * math.e)


def diversity(encoder: Encoder, *, gamma: float, rate: float, latent_size: int) -> Encoder:
    """Normalises means over the batch, with learnt scales, and drops a share of the variances.

    `mean'_l = gamma s_l / rms(s) (normalised(mean)_l + shift_l)`: as BN-VAE, but the scales s share
    gamma, so that units may become unequal. `var' = FLOOR + keep exp(log_var) / (1 - rate)`, each
    `keep` 0 with probability `rate`, in training; evaluation keeps all, at scale 1. A dropped
    variance is that of entropy 0: the decoder learns to take z at its word.

    Args:
      encoder: with diagonal Gaussian posteriors.
      gamma: the source's script takes 0.5 for Yelp.
      rate: the same, 0.2.
      latent_size: L.

    References:
      Shen et al. (2021), Regularizing Variational Autoencoder with Diversity and Uncertainty
      Awareness, and its script.
    """
    normalised = batch_norm(encoder, gamma=1.0, latent_size=latent_size)

    def init(key: Key, batch: Batch, context: Any = None) -> Params:
        return normalised.init(key, batch, context) | {NAME: {"scale": jnp.ones(latent_size)}}

    def apply(
        params: Params, batch: Batch, context: Any = None, *, key: Key, train: bool
    ) -> Inference:
        inner = {name: value for name, value in params.items() if name != NAME}
        inference = Inference.of(normalised.apply(inner, batch, context, key=key, train=train))
        q, scale = inference.posterior, params[NAME]["scale"]
        scale *= gamma * jax.lax.rsqrt(jnp.mean(jnp.square(scale)))
        variance = jnp.exp(q.log_var)
        if train:
            keys = example_keys(stream(key, Stream.VARIANCE_DROPOUT), batch.index)
            keep = jax.vmap(lambda k: jax.random.bernoulli(k, 1 - rate, (latent_size,)))(keys)
            variance = jnp.where(keep, variance / (1 - rate), 0)
        q = DiagonalGaussian(scale * q.mean, jnp.log(FLOOR + variance))
        return inference._replace(posterior=q)

    return Encoder(init, apply, after=normalised.after)


@dataclasses.dataclass(frozen=True)
class DiversityOptions:
    """Options of diverse means and certain variances."""

    gamma: float = option(0.7, "standard deviation of the posterior means", above=0)
    variance_dropout: float = option(
        0.2, "share of the variances that is dropped", at_least=0, below=1
    )


def build_diversity(options: DiversityOptions, shared: Any) -> Callable[[Encoder], Encoder]:
    """Builds the map of encoders of a configuration."""
    return partial(
        diversity,
        gamma=options.gamma,
        rate=options.variance_dropout,
        latent_size=shared.latent_size,
    )
