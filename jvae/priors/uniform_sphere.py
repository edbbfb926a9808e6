"""`p(z)` uniform over the unit sphere: the prior of von Mises-Fisher posteriors."""

import jax.numpy as jnp

from jvae.model import Prior, fixed_prior
from jvae.posteriors.vmf import UniformSphere


def uniform_sphere(*, latent_size: int) -> Prior:
    """Makes the uniform distribution over the sphere in L dimensions, without parameters."""
    return fixed_prior(lambda: UniformSphere(jnp.zeros((1, latent_size))))
