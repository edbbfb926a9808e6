"""The weight of the KL follows the KL itself, so that a rate is held."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from jvae.types import Array


class RateControl(NamedTuple):
    """A weight of the KL with a state, which is part of the training state.

    Attributes:
      init: `() -> state`.
      kl_weight: `state -> weight`: the step minimises `-log_likelihood + weight * KL`.
      update: `(state, mean KL of the step's batch) -> state`, once per joint update.
    """

    init: Callable[[], Any]
    kl_weight: Callable[[Any], Array]
    update: Callable[[Any, Array], Any]


def minimum_rate(rate: float = 5.0, learning_rate: float = 1e-3) -> RateControl:
    """`min_params max_{u >= 0} -log_likelihood + KL + u (rate - KL)`: the constraint `KL >= rate`.

    The weight is thus `1 - u`, below 0 while the KL must be driven up, and the constant `u rate`
    stays out of the loss. u ascends its gradient `rate - KL` by RMSprop and starts at 1.01, as in
    the released script; it is held at 0 or above, where the script takes `|u|`.

    Args:
      rate: nats per sentence.
      learning_rate: of u. The script gives it that of its Adam, 0.001.

    References:
      Pelsmaeker and Aziz (2020), Effective Estimation of Deep Generative Language Models (minimum
      desired rate).
    """
    optimiser = optax.rmsprop(learning_rate, decay=0.99)

    def init() -> tuple[Array, Any]:
        multiplier = jnp.float32(1.01)
        return multiplier, optimiser.init(multiplier)

    def update(state: tuple[Array, Any], kl: Array) -> tuple[Array, Any]:
        multiplier, opt_state = state
        step, opt_state = optimiser.update(kl - rate, opt_state, multiplier)  # it descends
        return jnp.maximum(multiplier + step, 0), opt_state

    return RateControl(init, lambda state: 1 - state[0], update)


def soft_free_bits(
    rate: float = 5.0, threshold: float = 0.05, factor: float = 1.1, start: float = 1.0
) -> RateControl:
    """`-log_likelihood + gamma KL`, `0 < gamma <= 1`: gamma falls below the rate, rises above it.

    After each update gamma is divided by `factor` if the batch's KL is below `rate`, and multiplied
    by it, up to 1, if it is above `(1 + threshold) rate`.

    Args:
      rate: nats per sentence.
      threshold: the source's 5 %.
      factor: the source's increments of 10 %.
      start: the first gamma: the bound itself. The source names none.

    References:
      Chen et al. (2017), Variational Lossy Autoencoder, appendix C. The floor of 0.0001, from
      which gamma is back at 1 after 97 updates, is that of Pelsmaeker and Aziz's script.
    """

    def update(gamma: Array, kl: Array) -> Array:
        exponent = jnp.where(kl > (1 + threshold) * rate, 1.0, jnp.where(kl < rate, -1.0, 0.0))
        return jnp.clip(gamma * factor**exponent, 1e-4, 1.0)

    return RateControl(lambda: jnp.float32(start), lambda gamma: gamma, update)


RATE_CONTROLS: dict[str, Callable[..., RateControl]] = {
    "minimum_rate": minimum_rate,
    "soft_free_bits": soft_free_bits,
}
