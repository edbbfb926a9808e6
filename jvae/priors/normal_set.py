"""Sets of standard normal vectors, and how many of them there are: the prior of VT and VTS."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jvae.components import NoOptions
from jvae.distributions.sets import VectorSet
from jvae.model import Prior
from jvae.posteriors.tokens import (
    TokenDelta,
    TokenGaussian,
    standard_normal_kl,
    vectors_log_prob,
    where_present,
)
from jvae.types import Array, Key, Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NormalSet:
    """`p(n) prod_i N(z_i; 0, I)`.

    Attributes:
      logits: of n, `[max_count + 1]`.
      latent_size: P, a Python number.
    """

    logits: Array
    latent_size: int = dataclasses.field(metadata={"static": True})

    def sample(self, keys: Key) -> VectorSet:
        """Draws a number of vectors, then the vectors; keys `[B]` -> `max_count` rows each."""
        of_count, of_vectors = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        present = jnp.arange(len(self.logits) - 1) < draw_count(of_count, self.logits)[:, None]
        zeros = jnp.zeros((*present.shape, self.latent_size))
        return TokenGaussian(zeros, zeros, jnp.where(present, 0.0, -jnp.inf)).sample(of_vectors)

    def log_prob(self, z: VectorSet) -> Array:
        """Returns `log p(n) + sum_i log N(z_i; 0, I)`, `[..., B]`, nats."""
        zero = jnp.zeros((), z.vectors.dtype)
        of_vectors = vectors_log_prob(z, zero, zero, z.log_weights)
        return log_count_prob(self.logits, count_present(z.log_weights)) + of_vectors

    def surrogate_from(self, q: Any) -> dict[str, Array]:
        """Returns the exact KL by name, `sum_i KL(N_i || N(0, I))` and `-log p(n)`.

        n is no random variable of q.
        """
        if not isinstance(q, TokenGaussian):
            return NotImplemented
        rows = standard_normal_kl(q.means, q.log_vars)
        gaussian = jnp.sum(where_present(q.log_weights, rows[..., None])[..., 0], axis=-1)
        length = -log_count_prob(self.logits, count_present(q.log_weights))
        return {"gaussian": gaussian, "length": length}

    def kl_from(self, q: Any) -> Array:
        """Returns the sum of `surrogate_from`, `[B]`; 0 for point masses."""
        if isinstance(q, TokenDelta):
            return jnp.zeros(q.means.shape[0])
        terms = self.surrogate_from(q)
        return NotImplemented if terms is NotImplemented else terms["gaussian"] + terms["length"]


def draw_count(keys: Key, logits: Array) -> Array:
    """Draws `n ~ softmax(logits)`, keys `[B]` -> `[B]`."""
    return jax.vmap(lambda key: jax.random.categorical(key, logits))(keys)


def count_present(log_weights: Array) -> Array:
    """Rows that are there, `[..., K]` -> `[...]` int."""
    return jnp.sum(log_weights != -jnp.inf, axis=-1)


def log_count_prob(logits: Array, n: Array) -> Array:
    """Returns `log p(n)`, elementwise; minus infinity beyond the logits."""
    known = (n >= 0) & (n < len(logits))
    return jnp.where(known, jax.nn.log_softmax(logits)[jnp.where(known, n, 0)], -jnp.inf)


Count = Callable[[Any, Array], Array]
Fit = Callable[[Params, Array], Params]


def counted(max_count: int) -> tuple[Count, Fit]:
    """Makes `Prior.observe` and `Prior.fit` of a prior that counts the vectors of a set.

    p(n) is estimated from the examples with n vectors, plus one of each number, so that no number
    is impossible: learnt by gradient it would lag far behind.

    Args:
      max_count: the largest n.
    """

    def observe(q: Any, weight: Array) -> Array:
        return jnp.zeros(max_count + 1).at[q.kept.astype(jnp.int32)].add(weight)

    def fit(params: Params, numbers: Array) -> Params:
        share = (np.asarray(numbers, np.float64) + 1) / np.sum(np.asarray(numbers, np.float64) + 1)
        return params | {"logits": np.log(share).astype(params["logits"].dtype)}

    return observe, fit


def normal_set(*, latent_size: int, max_count: int) -> Prior:
    """`p(n) prod_{i <= n} N(z_i; 0, I)`, p(n) learned: uniform at first.

    As n(x) follows from x, bounds are strict and at best lack `-log p(n(x) | x)`: see
    `jvae.priors.dirichlet_process`.

    Args:
      latent_size: P.
      max_count: the largest n. Of more vectors the probability is 0.
    """

    def init(key: Key) -> Params:
        return {"logits": jnp.zeros(max_count + 1)}

    def apply(params: Params, context: Any = None) -> NormalSet:
        return NormalSet(params["prior"]["logits"], latent_size)

    return Prior(init, apply, *counted(max_count))


def build_normal_set(options: NoOptions, shared: Any) -> Prior:
    """Builds the prior of a configuration."""
    del options
    return normal_set(latent_size=shared.latent_size, max_count=shared.max_count)
