"""A mixture of K Gaussians as the prior, with learned weights, means and variances."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jvae.configs import option
from jvae.distributions import DiagonalGaussian
from jvae.model import Prior
from jvae.types import Array, Key, Params


class GaussianMixture(NamedTuple):
    """`sum_k softmax(logits)_k N(means_k, diag(exp(log_vars_k)))`.

    There is no closed form of a KL to it: `jvae.kl_divergence` estimates it from the sample.

    Attributes:
      logits: `[K]`.
      means: `[K, L]`.
      log_vars: `[K, L]`.
    """

    logits: Array
    means: Array
    log_vars: Array

    @property
    def mean(self) -> Array:
        """`[1, L]`: `sum_k w_k mean_k`."""
        return (jax.nn.softmax(self.logits) @ self.means)[None]

    @property
    def log_var(self) -> Array:
        """`[1, L]`: the log of `sum_k w_k (var_k + (mean_k - mean)^2)`."""
        spread = jnp.exp(self.log_vars) + jnp.square(self.means - self.mean)
        return jnp.log(jax.nn.softmax(self.logits) @ spread)[None]

    def sample(self, keys: Key) -> Array:
        """Draws a component, then z from it; keys `[B]` -> `[B, L]`.

        The component is a hard choice: no gradient reaches the logits.
        """
        which, noise = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        chosen = jax.vmap(lambda key: jax.random.categorical(key, self.logits))(which)
        return DiagonalGaussian(self.means[chosen], self.log_vars[chosen]).sample(noise)

    def log_prob(self, z: Array) -> Array:
        """Returns `log sum_k w_k N(z; mean_k, var_k)`, `[..., B, L]` -> `[..., B]`, nats."""
        components = DiagonalGaussian(self.means, self.log_vars).log_prob(z[..., None, :])
        return jax.nn.logsumexp(jax.nn.log_softmax(self.logits) + components, axis=-1)


def mixture(*, latent_size: int, components: int) -> Prior:
    """`p(z) = sum_k w_k N(z; mean_k, diag(var_k))`, all of it learned.

    It starts close to the standard normal: equal weights, variances 1, and means from
    `N(0, 0.5^2)`: components that start nearly equal stay so for long, while their variances grow.

    Args:
      latent_size: L.
      components: K.

    References:
      Tomczak and Welling (2018), VAE with a VampPrior, section 2 ("MoG").
    """

    def init(key: Key) -> Params:
        return {
            "logits": jnp.zeros(components),
            "means": 0.5 * jax.random.normal(key, (components, latent_size)),
            "log_vars": jnp.zeros((components, latent_size)),
        }

    def apply(params: Params, context: Any = None) -> GaussianMixture:
        return GaussianMixture(**params["prior"])

    return Prior(init, apply)


@dataclasses.dataclass(frozen=True)
class MixtureOptions:
    """Options of the mixture prior."""

    components: int = option(100, "number of Gaussians", above=0)


def build_mixture(options: MixtureOptions, shared: Any) -> Prior:
    """Builds the prior of a configuration."""
    return mixture(latent_size=shared.latent_size, components=options.components)
