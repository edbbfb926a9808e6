"""Posteriors that cannot come nearer to the prior than a committed rate (delta-VAE)."""

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
from jvae.types import Key, Params


def committed_rate(encoder: Encoder, *, rate: float) -> Encoder:
    """Bounds parameters so that `KL(q || N(0, 1)) >= rate` in every dimension of every sentence.

    `std = low + (high - low) sigmoid(s)` and `mean = sqrt(2 rate + 1 + log std^2 - std^2) +
    relu(m)`, where m and s are the encoder's mean and log variance. `low` and `high` are where the
    root is 0: between them the variance alone may pay the rate, and the mean pays the rest.

    Args:
      encoder: with diagonal Gaussian posteriors.
      rate: nats per dimension, above 0; Zhu et al. (2020) report 0.1 to 0.25 for L = 32.

    References:
      Razavi et al. (2019), Preventing Posterior Collapse with delta-VAEs, section 2 and appendix.
    """
    low, high = (math.sqrt(variance) for variance in variance_bounds(rate))

    def apply(
        params: Params, batch: Batch, context: Any = None, *, key: Key, train: bool
    ) -> Inference:
        inference = Inference.of(encoder.apply(params, batch, context, key=key, train=train))
        q = inference.posterior
        std = low + (high - low) * jax.nn.sigmoid(q.log_var)
        log_var = 2 * jnp.log(std)
        rest = 2 * rate + 1 + log_var - jnp.square(std)
        # At the bounds the root has no derivative, and rounding may make `rest` negative.
        least = jnp.sqrt(jnp.maximum(rest, 1e-6))
        q = DiagonalGaussian(least + jax.nn.relu(q.mean), log_var)
        return inference._replace(posterior=q)

    return encoder._replace(apply=apply, from_embeddings=None)


@dataclasses.dataclass(frozen=True)
class CommittedRateOptions:
    """Options of committed rates."""

    rate: float = option(0.1, "least KL of each dimension, nats", above=0)


def build_committed_rate(
    options: CommittedRateOptions, shared: Any
) -> Callable[[Encoder], Encoder]:
    """Builds the map of encoders of a configuration."""
    del shared
    return partial(committed_rate, rate=options.rate)


def variance_bounds(rate: float) -> tuple[float, float]:
    """Solves `log v - v + 2 rate + 1 = 0` for both roots, by fixed points between them."""
    low = high = 1.0
    for _ in range(1000):
        low, high = math.exp(low - 1 - 2 * rate), 1 + 2 * rate + math.log(high)
    return low, high
