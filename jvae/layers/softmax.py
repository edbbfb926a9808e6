"""The probability of the next token, and of all of a sentence."""

import jax
import jax.numpy as jnp

from jvae.batch import Tokens
from jvae.layers.product import product
from jvae.types import Array, DType


def next_token_log_prob(logits: Array, targets: Array) -> Array:
    """Computes `log softmax(logits)[target]`: `[.., V]` and `[..]` -> `[..]`, nats."""
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)


def sentence_log_prob(hidden: Array, output_kernel: Array, x: Tokens, dtype: DType = None) -> Array:
    """Computes `sum_t log softmax(hidden_t W)[x_t]`, over the words and `</s>`: `[B]`, nats.

    Args:
      hidden: `[B, T, H]`.
      output_kernel: W `[H, V]`.
      x: the targets.
      dtype: of the product's factors, see `jvae.layers.product`.
    """
    # Flat rows: the kernel's gradient is then one two-dimensional product.
    logits = product(hidden.reshape(-1, hidden.shape[-1]), output_kernel, dtype)
    log_probs = next_token_log_prob(logits, x.targets.reshape(-1))
    return jnp.sum(jnp.where(x.mask, log_probs.reshape(x.mask.shape), 0), axis=1)


def streamed_log_prob(hidden: Array, output_kernel: Array, x: Tokens) -> Array:
    """Computes `sentence_log_prob` with one `[B, V]` of logits at a time, for many samples."""

    def body(total, inputs):
        hidden, target, real = inputs
        log_prob = next_token_log_prob(hidden @ output_kernel, target)
        return total + jnp.where(real, log_prob, 0), None

    inputs = (jnp.swapaxes(hidden, 0, 1), x.targets.T, x.mask.T)
    total, _ = jax.lax.scan(body, jnp.zeros_like(hidden[:, 0, 0]), inputs)
    return total
