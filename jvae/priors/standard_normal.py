"""`p(z) = N(0, I)`."""

import jax.numpy as jnp

from jvae.distributions import DiagonalGaussian
from jvae.model import Prior, fixed_prior


def standard_normal(*, latent_size: int) -> Prior:
    """Makes the standard normal over `[L]`, without parameters."""

    def make() -> DiagonalGaussian:
        return DiagonalGaussian(jnp.zeros((1, latent_size)), jnp.zeros((1, latent_size)))

    return fixed_prior(make)
