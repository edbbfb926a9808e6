"""Categorical posteriors: z is one of K classes, a one-hot vector."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jvae.capabilities import ANY_DENSITY, DISCRETE_GRADIENT, FEW_VALUES, ONE_VECTOR, POSTERIOR
from jvae.components import Component
from jvae.posteriors.family import Family
from jvae.types import Array, Key


class Categorical(NamedTuple):
    """`q(z = e_k) = softmax(logits)_k` over one-hot vectors `e_k`.

    Attributes:
      logits: `[B, K]`.
    """

    logits: Array

    @property
    def capabilities(self) -> frozenset[str]:
        """Tells evaluation that z is a class."""
        return frozenset({"classes"})

    @property
    def mean(self) -> Array:
        """`[B, K]`, the probabilities."""
        return jax.nn.softmax(self.logits)

    @property
    def log_var(self) -> Array:
        """`[B, K]`: `log(q_k (1 - q_k))`."""
        log_q = jax.nn.log_softmax(self.logits)
        return log_q + jnp.log(-jnp.expm1(jnp.minimum(log_q, -1e-7)))

    def sample(self, keys: Key) -> Array:
        """Draws classes, keys `[B]` -> one-hot `[B, K]`. No gradient reaches the logits."""
        logits = jnp.broadcast_to(self.logits, (len(keys), self.logits.shape[-1]))
        classes = jax.vmap(jax.random.categorical)(keys, logits)
        return jax.nn.one_hot(classes, self.logits.shape[-1], dtype=self.logits.dtype)

    def log_prob(self, z: Array) -> Array:
        """Returns `log q(z)`, one-hot `[..., B, K]` -> `[..., B]`, nats."""
        return jnp.sum(z * jax.nn.log_softmax(self.logits), axis=-1)

    def entropy(self) -> Array:
        """Returns `-sum_k q_k log q_k`, `[B]`, nats."""
        log_q = jax.nn.log_softmax(self.logits)
        return -jnp.sum(jnp.exp(log_q) * log_q, axis=-1)

    def kl_to(self, p: Any) -> Array:
        """Returns `sum_k q_k log(q_k / p_k)`, `[B]`, nats, or NotImplemented."""
        if not isinstance(p, Categorical):
            return NotImplemented
        log_q, log_p = jax.nn.log_softmax(self.logits), jax.nn.log_softmax(p.logits)
        return jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=-1)

    def support(self) -> Array:
        """Returns all values of z, `[K, B, K]`."""
        rows, size = self.logits.shape
        values = jnp.eye(size, dtype=self.logits.dtype)[:, None]
        return jnp.broadcast_to(values, (size, rows, size))

    def relaxed(self, keys: Key, temperature: float) -> Array:
        """Draws `softmax((logits + Gumbel noise) / temperature)`, differentiable: `[B, K]`.

        References:
          Jang et al. (2017), Categorical Reparameterization with Gumbel-Softmax, equation 2.
          Maddison et al. (2017), The Concrete Distribution, section 3.
        """
        size = self.logits.shape[-1]
        noise = jax.vmap(lambda key: jax.random.gumbel(key, (size,), self.logits.dtype))(keys)
        return jax.nn.softmax((self.logits + noise) / temperature)


def categorical() -> Family:
    """Makes the family of one of L classes, whose logits the last layer gives.

    Training needs an estimator for discrete latents, such as `jvae.estimators.enumeration`.
    """
    return Family(lambda size: size, Categorical)


CLASSES = "latents that are classes"
CLASS_PRIOR = "a prior over classes"
CATEGORICAL = Component(
    build=lambda options, shared: categorical(),
    gives=frozenset({ONE_VECTOR, ANY_DENSITY, FEW_VALUES, CLASSES}),
    needs={
        POSTERIOR: "it is drawn from",
        CLASS_PRIOR: "its KL is to one",
        DISCRETE_GRADIENT: "no gradient passes through a draw of a class",
    },
    about="one of latent_size classes, a one-hot vector",
)
