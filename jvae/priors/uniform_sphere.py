"""`p(z)` uniform over the unit sphere: the prior of von Mises-Fisher posteriors."""

import jax.numpy as jnp

from jvae.posteriors.vmf import UniformSphere
from jvae.types import Key, Params
from jvae.vae import Prior


def uniform_sphere(*, latent_size: int) -> Prior:
    """The uniform distribution over the sphere in L dimensions, without parameters."""

    def init(key: Key) -> Params:
        return {}

    def distribution(params: Params) -> UniformSphere:
        return UniformSphere(jnp.zeros((1, latent_size)))

    return Prior(init, distribution)
