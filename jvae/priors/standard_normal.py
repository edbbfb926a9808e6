"""`p(z) = N(0, I)`."""

import jax.numpy as jnp

from jvae.distributions import DiagonalGaussian
from jvae.types import Key, Params
from jvae.vae import Prior


def standard_normal(*, latent_size: int) -> Prior:
    """The standard normal over `[L]`, without parameters."""

    def init(key: Key) -> Params:
        return {}

    def distribution(params: Params) -> DiagonalGaussian:
        return DiagonalGaussian(jnp.zeros((1, latent_size)), jnp.zeros((1, latent_size)))

    return Prior(init, distribution)
