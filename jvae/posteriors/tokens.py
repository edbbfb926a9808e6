"""Posteriors over sets with one vector for each token, all of the same weight."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jvae.components import NoOptions
from jvae.configs import option
from jvae.distributions import Delta, DiagonalGaussian
from jvae.distributions.sets import VectorSet
from jvae.errors import UserError
from jvae.posteriors.family import TokenFamily
from jvae.types import Array, Key

# Below this log variance float32 has no spread to tell, and its inverse no value.
LEAST_LOG_VAR = -80.0


class TokenGaussian(NamedTuple):
    """Independent vectors `N(means_i, diag(exp(log_vars_i)))`; how many is not random.

    Attributes:
      means: `[B, T, P]`.
      log_vars: `[B, T, P]`.
      log_weights: `[B, T]`, 0, or minus infinity where there is no vector.
    """

    means: Array
    log_vars: Array
    log_weights: Array

    @property
    def mean(self) -> VectorSet:
        """The set of means."""
        return VectorSet(self.means, self.log_weights)

    @property
    def pooled(self) -> Array:
        """`[B, P]`: the average of the means."""
        return self.mean.pooled

    @property
    def kept(self) -> Array:
        """`[B]`: vectors of each sentence."""
        return self.mean.count

    def sample(self, keys: Key) -> VectorSet:
        """Impulses, keys `[B]`. A vector's noise depends on its key and its position alone."""
        shape, dtype = self.means.shape[1:], self.means.dtype
        noise = jax.vmap(lambda key: jax.random.normal(key, shape, dtype))(keys)
        vectors = self.means + jnp.exp(0.5 * self.log_vars) * noise
        return VectorSet(where_present(self.log_weights, vectors), self.log_weights)

    def log_prob(self, z: VectorSet) -> Array:
        """`sum_i log N(z_i)`, `[..., B]`, nats; minus infinity where z has other rows."""
        return vectors_log_prob(z, self.means, self.log_vars, self.log_weights)


class TokenDelta(NamedTuple):
    """All mass on one set: the posterior of an autoencoder. It has no density.

    Attributes:
      means: `[B, T, P]`.
      log_weights: `[B, T]`, 0, or minus infinity where there is no vector.
    """

    means: Array
    log_weights: Array

    @property
    def has_density(self) -> bool:
        """False: all mass lies on one value."""
        return False

    @property
    def mean(self) -> VectorSet:
        """The set."""
        return VectorSet(self.means, self.log_weights)

    @property
    def pooled(self) -> Array:
        """`[B, P]`: the average of the means."""
        return self.mean.pooled

    @property
    def kept(self) -> Array:
        """`[B]`: vectors of each sentence."""
        return self.mean.count

    def sample(self, keys: Key) -> VectorSet:
        """Returns the set, whatever the keys."""
        del keys
        return self.mean

    def log_prob(self, z: VectorSet) -> Array:
        """Raises a TypeError, see `jvae.distributions.Delta`."""
        return Delta(self.means).log_prob(z.vectors)


def where_present(log_weights: Array, rows: Array) -> Array:
    """Sets absent rows of `[..., K, P]` to zero."""
    return jnp.where((log_weights != -jnp.inf)[..., None], rows, 0)


def vectors_log_prob(z: VectorSet, means: Array, log_vars: Array, log_weights: Array) -> Array:
    """`sum_i log N(z_i; means_i, exp(log_vars_i))` over the rows that are there, `[..., B]`."""
    present = log_weights != -jnp.inf
    rows = DiagonalGaussian(means, jnp.maximum(log_vars, LEAST_LOG_VAR)).log_prob(z.vectors)
    same = jnp.all(z.present == present, axis=-1)
    return jnp.where(same, jnp.sum(jnp.where(present, rows, 0), axis=-1), -jnp.inf)


def standard_normal_kl(means: Array, log_vars: Array) -> Array:
    """`KL(N(means_i, exp(log_vars_i)) || N(0, I))` of each row, `[..., K, P]` -> `[..., K]`."""
    zero = jnp.zeros((), means.dtype)
    per_dimension = DiagonalGaussian(means, log_vars).kl_to(DiagonalGaussian(zero, zero))
    return jnp.sum(per_dimension, axis=-1)


def kept_positions(length: int, stride: float) -> np.ndarray:
    """Tells which positions keep their vector if about the share `stride` is dropped: `[T]`.

    Up to a half every m-th is dropped, `m = int(1 / stride)`; above every m-th is kept, from the
    first on, `m = int(1 / (1 - stride))`; at 1 the first alone. So 0.3 drops a third, and 0.4 and
    0.6 a half.
    """
    place = np.arange(length)
    if stride == 0:
        return place >= 0
    if stride == 1:
        return place == 0
    if stride <= 0.5:
        return (place + 1) % int(1 / stride) != 0
    return place % int(1 / (1 - stride)) == 0


class TokenHead(nn.Module):
    """Hidden states `[B, T, H]` -> a Gaussian for each token, both parameters linear in its state.

    Attributes:
      latent_size: P.
      stride: the share of positions without a vector, see `kept_positions`.
      point: point masses at the means instead, for autoencoders.
    """

    latent_size: int
    stride: float = 0.0
    point: bool = False

    @nn.compact
    def __call__(self, hidden: Array, mask: Array, *, train: bool) -> TokenGaussian | TokenDelta:
        """Makes the posteriors; `mask` `[B, T]` is True of real tokens."""
        del train
        kept = mask & kept_positions(hidden.shape[1], self.stride)
        means = linear(self.latent_size, "mean")(hidden)
        log_weights = jnp.where(kept, 0.0, -jnp.inf).astype(means.dtype)
        if self.point:
            return TokenDelta(where_present(log_weights, means), log_weights)
        log_vars = linear(self.latent_size, "log_var")(hidden)
        return TokenGaussian(
            where_present(log_weights, means), where_present(log_weights, log_vars), log_weights
        )


def linear(size: int, name: str) -> nn.Dense:
    """Makes a position-wise map with the source's initial weights."""
    return nn.Dense(size, kernel_init=nn.initializers.xavier_uniform(), name=name)


def vt(*, latent_size: int, point: bool = False) -> TokenFamily:
    """Makes the family of a vector for each token ("VTV" in the source's code).

    Args:
      latent_size: P.
      point: point masses, for autoencoders ("T").

    References:
      Henderson and Fehr (2023), A VAE for Transformers with Nonparametric Variational Information
      Bottleneck, their baselines.
    """
    return TokenFamily(TokenHead(latent_size, point=point))


def vts(*, latent_size: int, stride: float) -> TokenFamily:
    """Makes the family of `vt` with a fixed share of the positions dropped.

    Args:
      latent_size: P.
      stride: the share, 0 to 1, see `kept_positions`.

    Raises:
      UserError: it is no share.
    """
    if not 0 <= stride <= 1:
        raise UserError(f"stride is {stride}: give the share of vectors to drop, 0 to 1")

    def count(lengths: np.ndarray) -> np.ndarray:
        kept = [kept_positions(n, stride).sum() for n in range(np.max(lengths) + 1)]
        return np.array(kept)[lengths]

    return TokenFamily(TokenHead(latent_size, stride=stride), count)


@dataclasses.dataclass(frozen=True)
class VTSOptions:
    """Options of sets with a vector for a share of the tokens."""

    stride: float = option(0.5, "share of the vectors that is dropped", at_least=0, at_most=1)


def build_vt(options: NoOptions, shared: Any) -> TokenFamily:
    """Builds the family of a configuration."""
    del options
    return vt(latent_size=shared.latent_size, point=shared.point)


def build_vts(options: VTSOptions, shared: Any) -> TokenFamily:
    """Builds the family of a configuration."""
    return vts(latent_size=shared.latent_size, stride=options.stride)
