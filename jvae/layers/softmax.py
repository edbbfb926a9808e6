"""The probability of the next token."""

import jax
import jax.numpy as jnp

from jvae.types import Array


def next_token_log_prob(logits: Array, targets: Array) -> Array:
    """`log softmax(logits)[target]`: logits `[.., V]`, targets `[..]` -> `[..]`, nats."""
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)
