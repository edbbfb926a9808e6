"""Von Mises-Fisher posteriors with a fixed concentration: a KL that is a constant."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jvae.components import Rule
from jvae.configs import option
from jvae.posteriors.family import Family
from jvae.types import Array, Key


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class UniformSphere:
    """The uniform distribution over the unit sphere of L dimensions.

    Attributes:
      mean: `[B, L]`, zero.
    """

    mean: Array

    @property
    def log_var(self) -> Array:
        """`[B, L]`: `-log L`."""
        return jnp.full_like(self.mean, -math.log(self.mean.shape[-1]))

    def sample(self, keys: Key) -> Array:
        """Draws a direction of standard normal noise, keys `[B]` -> `[B, L]`."""
        return _directions(keys, self.mean.shape[-1])

    def log_prob(self, z: Array) -> Array:
        """Minus the log of the sphere's area, `[..., B, L]` -> `[..., B]`, nats."""
        return jnp.full(z.shape[:-1], -log_area(z.shape[-1]))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VonMisesFisher:
    """`C_L(kappa) exp(kappa direction' z)` over the unit sphere.

    Attributes:
      direction: `[B, L]`, of length 1.
      kappa: concentration, a Python number.
    """

    direction: Array
    kappa: float = dataclasses.field(metadata={"static": True})

    @property
    def mean(self) -> Array:
        """`[B, L]`: `A direction` with `A = I_{L/2}(kappa) / I_{L/2-1}(kappa)`, inside the ball."""
        return mean_length(self.direction.shape[-1], self.kappa) * self.direction

    @property
    def log_var(self) -> Array:
        """`[B, L]`, of each coordinate: `A'` along the direction and `A / kappa` across it."""
        size = self.direction.shape[-1]
        length = mean_length(size, self.kappa)
        across = length / self.kappa
        along = 1 - length**2 - (size - 1) * across
        return jnp.log(across + (along - across) * jnp.square(self.direction))

    def sample(self, keys: Key) -> Array:
        """Draws Wood's (1994) height by rejection, then a direction across; keys `[B]` -> `[B, L]`.

        The height's law is fixed, so that the gradient reaches `direction` exactly.
        """
        size = self.direction.shape[-1]
        heights, across = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        height = jax.vmap(lambda key: _height(key, size, self.kappa))(heights)[:, None]
        noise = _directions(across, size)
        along = jnp.sum(noise * self.direction, axis=-1, keepdims=True)
        tangent = noise - along * self.direction
        tangent = tangent / jnp.linalg.norm(tangent, axis=-1, keepdims=True)
        return height * self.direction + jnp.sqrt(1 - jnp.square(height)) * tangent

    def log_prob(self, z: Array) -> Array:
        """Returns `log C + kappa direction' z`, `[..., B, L]` -> `[..., B]`, nats."""
        log_c = log_normaliser(self.direction.shape[-1], self.kappa)
        return log_c + self.kappa * jnp.sum(self.direction * z, axis=-1)

    def kl_to(self, p: Any) -> Array:
        """Returns `kappa A + log C + log area`, to the uniform sphere, equal for all: `[B]`."""
        if not isinstance(p, UniformSphere):
            return NotImplemented
        size = self.direction.shape[-1]
        mean = self.kappa * mean_length(size, self.kappa)
        value = mean + log_normaliser(size, self.kappa) + log_area(size)
        return jnp.full(self.direction.shape[:-1], value)


def _directions(keys: Key, size: int) -> Array:
    noise = jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys)
    return noise / jnp.linalg.norm(noise, axis=-1, keepdims=True)


def _height(key: Key, size: int, kappa: float) -> Array:
    """Draws `direction' z`, of density proportional to `(1 - w^2)^((L - 3) / 2) exp(kappa w)`."""
    others = size - 1
    b = others / (2 * kappa + math.sqrt(4 * kappa**2 + others**2))
    x = (1 - b) / (1 + b)
    c = kappa * x + others * math.log(1 - x**2)

    def draw(state: tuple[Key, Array, Array]) -> tuple[Key, Array, Array]:
        key, point, uniform = jax.random.split(state[0], 3)
        # A coordinate of a uniform direction t has (1 + t) / 2 ~ Beta((L - 1) / 2, (L - 1) / 2).
        beta = 0.5 * (1 + _directions(point[None], size)[0, 0])
        height = (1 - (1 + b) * beta) / (1 - (1 - b) * beta)
        bound = kappa * height + others * jnp.log(1 - x * height) - c
        return key, height, jnp.log(jax.random.uniform(uniform)) <= bound

    start = (key, jnp.float32(0), jnp.bool_(False))
    return jax.lax.while_loop(lambda state: ~state[2], draw, start)[1]


def log_bessel(order: float, x: float) -> float:
    """Computes `log I_order(x)` by its power series of positive terms, on the host."""
    m = np.arange(int(2 * x) + 100)
    log_factorials = np.array([math.lgamma(k + 1) + math.lgamma(k + order + 1) for k in m])
    return float(np.logaddexp.reduce((2 * m + order) * math.log(x / 2) - log_factorials))


def log_area(size: int) -> float:
    """Computes the log area of the unit sphere: `log(2 pi^(L/2) / Gamma(L/2))`."""
    return math.log(2) + size / 2 * math.log(math.pi) - math.lgamma(size / 2)


def mean_length(size: int, kappa: float) -> float:
    """Computes `I_{L/2}(kappa) / I_{L/2-1}(kappa)`, below 1."""
    return math.exp(log_bessel(size / 2, kappa) - log_bessel(size / 2 - 1, kappa))


def log_normaliser(size: int, kappa: float) -> float:
    """Computes `log C = (L/2 - 1) log kappa - L/2 log 2 pi - log I_{L/2-1}(kappa)`."""
    order = size / 2 - 1
    power = order * math.log(kappa) - size / 2 * math.log(2 * math.pi)
    return power - log_bessel(order, kappa)


def vmf(*, kappa: float) -> Family:
    """Directions from the last layer, all of one concentration.

    The KL to the uniform sphere depends on `kappa` and L alone: no training can take it away, and
    none can raise it.

    Args:
      kappa: 13 is 2.17 nats at L = 32; Zhu et al. (2020) run vMF-VAEs with it, and print 2.0.

    References:
      Xu and Durrett (2018), Spherical Latent Spaces for Stable Variational Autoencoders, section 3.
    """

    def posterior(outputs: Array) -> VonMisesFisher:
        # The small number keeps the gradient finite where all outputs are 0.
        squared = jnp.sum(jnp.square(outputs), axis=-1, keepdims=True)
        return VonMisesFisher(outputs * jax.lax.rsqrt(squared + 1e-12), kappa)

    return Family(lambda size: size, posterior)


@dataclasses.dataclass(frozen=True)
class VMFOptions:
    """Options of von Mises-Fisher posteriors."""

    # Above, directions are all but fixed, and the memory of the normalising constant grows.
    kappa: float = option(13.0, "concentration, which sets the KL", above=0, at_most=1e4)


def build_vmf(options: VMFOptions, shared: Any) -> Family:
    """Builds the family of a configuration."""
    del shared
    return vmf(kappa=options.kappa)


AT_LEAST_A_CIRCLE = Rule(
    lambda config: config.model.latent_size >= 2,
    lambda config: (
        f"model.posterior = 'vmf' needs model.latent_size of at least 2, not "
        f"{config.model.latent_size}: a sphere"
    ),
)
