"""The bag-of-words loss (Zhao et al., 2017): z alone must also tell which words there are.

The decoder can forget z, as it sees the words before; a second head cannot, as it sees nothing
else. It acts in training only and is no part of `p(x | z)`, hence of no reported number.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jvae.layers import dense_product, product, symmetric_uniform
from jvae.objectives import ELBOTerms, Loss, Scheduled
from jvae.types import Array, Batch, DType, Key, Params
from jvae.vae import Decoder

NAME = "bag_of_words"


class BagOfWords(nn.Module):
    """`log p_bow(x | z) = sum_t log softmax(tanh(z W_1 + b) W_2)[x_t]`, the order ignored.

    Attributes:
      vocab_size: V.
      hidden_size: of the hidden layer. The source's script has 400.
      init_scale: weights start from `U(-init_scale, init_scale)`.
      dtype: of the products' factors, see `jvae.layers.product`.
    """

    vocab_size: int
    hidden_size: int
    init_scale: float
    dtype: DType = None

    @nn.compact
    def __call__(self, z: Array, batch: Batch) -> Array:
        """Summed over the words and `</s>`: `[B]`, nats per sentence."""
        init = symmetric_uniform(self.init_scale)
        hidden = nn.Dense(
            self.hidden_size,
            kernel_init=init,
            bias_init=init,
            dot_general=dense_product(self.dtype),
        )(z)
        output_kernel = self.param("output_kernel", init, (self.hidden_size, self.vocab_size))
        logits = product(jnp.tanh(hidden), output_kernel, self.dtype)
        log_probs = jnp.take_along_axis(jax.nn.log_softmax(logits), batch.targets, axis=1)
        return jnp.sum(jnp.where(batch.mask, log_probs, 0), axis=1)


def with_bag_of_words(
    decoder: Decoder,
    *,
    vocab_size: int,
    hidden_size: int = 400,
    init_scale: float = 0.01,
    dtype: DType = None,
) -> Decoder:
    """The same decoder, with `log p_bow(x | z)` among its auxiliary terms.

    Args:
      decoder: its parameters become `params["text"]`, next to those of the head.
      vocab_size: V.
      hidden_size: of the head.
      init_scale: of the head.
      dtype: of the head's products.

    References:
      Zhao et al. (2017), Learning Discourse-level Diversity for Neural Dialog Models using
      Conditional Variational Autoencoders, section 3.3.
    """
    head = BagOfWords(vocab_size, hidden_size, init_scale, dtype)

    def init(key: Key, z: Array, batch: Batch) -> Params:
        text_key, head_key = jax.random.split(key)
        return {
            "text": decoder.init(text_key, z, batch),
            NAME: head.init(head_key, z, batch)["params"],
        }

    def auxiliary(params: Params, z: Array, batch: Batch) -> dict[str, Array]:
        term: Any = head.apply({"params": params[NAME]}, z, batch)
        return {NAME: term}

    return Decoder(
        init=init,
        log_prob=lambda params, z, batch, **how: decoder.log_prob(params["text"], z, batch, **how),
        start=lambda params, z, max_length: decoder.start(params["text"], z, max_length),
        step=lambda params, carry, token: decoder.step(params["text"], carry, token),
        auxiliary=auxiliary,
    )


def bag_of_words_loss(loss: Loss, weight: float) -> Loss:
    """`loss - weight * log p_bow(x | z)`, nats per sentence; the source's weight is 1."""

    def total(terms: ELBOTerms, scheduled: Scheduled, batch_weight: Array) -> Array:
        return loss(terms, scheduled, batch_weight) - weight * terms.auxiliary[NAME]

    return total
