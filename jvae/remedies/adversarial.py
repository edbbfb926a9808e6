"""Adversarial matching of the aggregate posterior: a discriminator tells posterior from prior."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jvae.random import Stream, stream
from jvae.types import Array, Key, Params


class Discriminator(nn.Module):
    """`logit D(z) = w' relu(W z + b) + c`: is z a draw from the prior?

    Attributes:
      hidden_size: of the hidden layer.
    """

    hidden_size: int

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """`[..., L]` -> `[...]`."""
        hidden = nn.relu(nn.Dense(self.hidden_size)(z))
        return nn.Dense(1)(hidden)[..., 0]


class Adversary(NamedTuple):
    """A discriminator with its own parameters and optimiser, which are part of the training state.

    Every term is a sum over sentences: a batch may come in parts.

    Attributes:
      init: `(key) -> state`.
      loss: `(state, z [S, B, L]) -> [B]`, nats: what the encoder pays for being told.
      gradient: `(state, z [S, B, L], draws of the prior [B, L], weight [B]) -> gradient` of the
        discriminator's own loss, summed over sentences. Nothing of it reaches the encoder.
      update: `(state, gradient of the mean loss) -> state`, once per joint update.
    """

    init: Callable[[Key], Any]
    loss: Callable[[Any, Array], Array]
    gradient: Callable[[Any, Array, Array, Array], Params]
    update: Callable[[Any, Params], Any]


def adversary(
    latent_size: int,
    *,
    weight: float = 10.0,
    hidden_size: int = 512,
    learning_rate: float = 5e-4,
) -> Adversary:
    """The encoder's `-weight log D(z)` against the discriminator's `-log D(y) - log(1 - D(z))`.

    y is drawn from the prior, z from the posterior (AAE). Both sides are updated at once, the
    discriminator by Adam. With a damaged input (`jvae.remedies.with_denoising`) it is DAAE.

    Args:
      latent_size: L.
      weight: the source's 10.
      hidden_size: the source's 512.
      learning_rate: of the discriminator. The source gives it that of the model, 0.0005.

    References:
      Makhzani et al. (2015), Adversarial Autoencoders; Shen et al. (2020), Educating Text
      Autoencoders, and its script, from which the numbers are (betas 0.5 and 0.999 too).
    """
    network = Discriminator(hidden_size)
    optimiser = optax.adam(learning_rate, b1=0.5, b2=0.999)

    def logits(params: Params, z: Array) -> Array:
        found: Any = network.apply({"params": params}, z)
        return found

    def init(key: Key) -> tuple[Params, Any]:
        params = network.init(stream(key, Stream.AGGREGATE), jnp.zeros((1, latent_size)))["params"]
        return params, optimiser.init(params)

    def loss(state: tuple[Params, Any], z: Array) -> Array:
        return weight * jnp.mean(nn.softplus(-logits(state[0], z)), axis=0)

    def gradient(state: tuple[Params, Any], z: Array, draws: Array, rows: Array) -> Params:
        z = jax.lax.stop_gradient(z)

        def own_loss(params: Params) -> Array:
            told = jnp.mean(nn.softplus(logits(params, z)), axis=0)
            return jnp.sum(rows * (told + nn.softplus(-logits(params, draws))))

        return jax.grad(own_loss)(state[0])

    def update(state: tuple[Params, Any], gradient: Params) -> tuple[Params, Any]:
        params, opt_state = state
        updates, opt_state = optimiser.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return Adversary(init, loss, gradient, update)
