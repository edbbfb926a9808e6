"""No encoder: without a latent a VAE is a language model, and every number of it is exact."""

from typing import Any

import jax.numpy as jnp

from jvae.batch import Batch
from jvae.components import NoOptions
from jvae.distributions import NoLatent
from jvae.model import Encoder
from jvae.types import Key, Params


def no_encoder(**options: Any) -> Encoder:
    """Makes a posterior over nothing: z is `[B, 0]`, the KL 0, every importance weight `p(x)`."""
    del options

    def init(key: Key, batch: Batch, context: Any = None) -> Params:
        return {}

    def apply(
        params: Params, batch: Batch, context: Any = None, *, key: Key, train: bool
    ) -> NoLatent:
        return NoLatent(jnp.zeros((batch.rows, 0)))

    return Encoder(init, apply)


def build_none(options: NoOptions, shared: Any) -> Encoder:
    """Builds the encoder of a configuration."""
    del options, shared
    return no_encoder()
