"""The LSTM encoder of He et al. (2019)."""

import jax.numpy as jnp
from flax import linen as nn

from jvae.distributions import Delta, DiagonalGaussian
from jvae.layers import LSTM, symmetric_uniform
from jvae.types import Array, Batch, DType, Key
from jvae.vae import Encoder, encoder_from_module


class LSTMEncoder(nn.Module):
    """`q(z | x) = N(mean, diag(exp(log_var)))`, both linear in the last hidden state.

    It reads the whole sentence, `<s>` and `</s>` included.

    Attributes:
      vocab_size: V.
      latent_size: L.
      embed_size: E.
      hidden_size: H.
      point: a point mass at the mean instead, for autoencoders.
      init_scale: weights start from `U(-init_scale, init_scale)`.
      embed_init_scale: the same for embeddings.
      dtype: of the products' factors, see `jvae.layers.product`; None for the parameters' own.

    References:
      He et al. (2019), Lagging Inference Networks and Posterior Collapse, section 6.
    """

    vocab_size: int
    latent_size: int
    embed_size: int
    hidden_size: int
    point: bool = False
    init_scale: float = 0.01
    embed_init_scale: float = 0.1
    dtype: DType = None

    def setup(self):
        """Embedding, LSTM, and the two linear maps in one."""
        init = symmetric_uniform(self.init_scale)
        embed_init = symmetric_uniform(self.embed_init_scale)
        self.embedding = nn.Embed(self.vocab_size, self.embed_size, embedding_init=embed_init)
        self.lstm = LSTM(self.hidden_size, init, self.dtype)
        heads = 1 if self.point else 2
        self.head = nn.Dense(heads * self.latent_size, use_bias=False, kernel_init=init)

    def __call__(self, batch: Batch, *, key: Key, train: bool) -> DiagonalGaussian | Delta:
        """The posterior over `[B, L]`. It draws no noise of its own: `key` is unused."""
        del key, train
        projected = self.lstm.project(self.embedding(batch.tokens))
        last: Array = self.lstm.last(projected, batch.lengths + 1)
        if self.point:
            return Delta(self.head(last))
        mean, log_var = jnp.split(self.head(last), 2, axis=-1)
        return DiagonalGaussian(mean, log_var)


def lstm_encoder(**options) -> Encoder:
    """`LSTMEncoder(**options)` as pure functions."""
    return encoder_from_module(LSTMEncoder(**options))
