"""The neural variational document model (NVDM)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jvae.batch import Batch
from jvae.distributions import DiagonalGaussian
from jvae.layers.product import dense_product
from jvae.model import Decoder, Encoder, decoder_from_module, encoder_from_module
from jvae.types import Array, DType, Key


class BagEncoder(nn.Module):
    """`h = tanh(W n + c)`, mean and log variance linear in h; n are the raw counts.

    The map to the log variance starts at zero, hence the variances at 1.

    Attributes:
      vocab_size: V.
      latent_size: L.
      hidden_size: H.
      dtype: of the products' factors, see `jvae.layers.product`.

    References:
      Miao et al. (2016), Neural Variational Inference for Text Processing, section 3, and its code.
    """

    vocab_size: int
    latent_size: int
    hidden_size: int
    dtype: DType = None

    @nn.compact
    def __call__(
        self, batch: Batch, context: Any = None, *, key: Key, train: bool
    ) -> DiagonalGaussian:
        """Computes the posterior over `[B, L]`, without noise."""
        del context, key, train
        counts = batch.x.dense(self.vocab_size)
        dense = dense_product(self.dtype)
        hidden = jnp.tanh(nn.Dense(self.hidden_size, dot_general=dense, name="hidden")(counts))
        mean = nn.Dense(self.latent_size, name="mean")(hidden)
        zeros = nn.initializers.zeros
        log_scale = nn.Dense(self.latent_size, kernel_init=zeros, name="log_scale")(hidden)
        return DiagonalGaussian(mean, 2 * log_scale)


class BagDecoder(nn.Module):
    """`log p(x | z) = sum_w n_w log softmax(z R + b)_w`.

    Without the multinomial coefficient, as everywhere in the literature.

    Attributes:
      vocab_size: V.
      dtype: of the product's factors, see `jvae.layers.product`.

    References:
      Miao et al. (2016), Neural Variational Inference for Text Processing, equation 8.
    """

    vocab_size: int
    dtype: DType = None

    @nn.compact
    def log_prob(
        self, z: Array, batch: Batch, context: Any = None, *, key: Key, train: bool
    ) -> Array:
        """Sums over the words: `[B]`, nats per document."""
        del context, key, train
        dense = dense_product(self.dtype)
        logits = nn.Dense(self.vocab_size, dot_general=dense, name="words")(z)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), batch.x.ids, axis=-1)
        return jnp.sum(batch.x.counts * chosen, axis=-1)


def bag_encoder(**options: Any) -> Encoder:
    """Makes `BagEncoder(**options)` a value of pure functions."""
    return encoder_from_module(BagEncoder(**options))


def bag_decoder(**options: Any) -> Decoder:
    """Makes `BagDecoder(**options)` a value of pure functions."""
    return decoder_from_module(BagDecoder(**options))


def top_words(
    params: Any, words: tuple[str, ...], number: int
) -> list[tuple[list[str], list[str]]]:
    """Returns for each dimension the words that it makes likelier, and those it makes rarer.

    Args:
      params: of `BagDecoder`.
      words: the vocabulary.
      number: words of each kind.
    """
    kernel = jax.device_get(params["words"]["kernel"])
    ordered = kernel.argsort(axis=1)
    return [
        ([words[w] for w in row[::-1][:number]], [words[w] for w in row[:number]])
        for row in ordered
    ]
