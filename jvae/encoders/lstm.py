"""The LSTM encoder of He et al. (2019)."""

from typing import Any

from flax import linen as nn

from jvae.batch import Batch
from jvae.components import NoOptions
from jvae.distributions import Delta, Distribution
from jvae.layers import LSTM, symmetric_uniform
from jvae.model import Encoder, encoder_from_module
from jvae.posteriors import DIAGONAL, Family
from jvae.types import Array, DType, Key


class LSTMEncoder(nn.Module):
    """`q(z | x) = N(mean, diag(exp(log_var)))`, both linear in the last hidden state.

    Or another family, whose parameters are made of such a linear map.

    It reads the whole sentence, `<s>` and `</s>` included.

    Attributes:
      vocab_size: V.
      latent_size: L.
      embed_size: E.
      hidden_size: H.
      point: a point mass at the mean instead, for autoencoders.
      family: of posteriors, see `jvae.posteriors`.
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
    family: Family = DIAGONAL
    init_scale: float = 0.01
    embed_init_scale: float = 0.1
    dtype: DType = None

    def setup(self):
        """Makes embedding, LSTM, and the two linear maps in one."""
        init = symmetric_uniform(self.init_scale)
        embed_init = symmetric_uniform(self.embed_init_scale)
        self.embedding = nn.Embed(self.vocab_size, self.embed_size, embedding_init=embed_init)
        self.lstm = LSTM(self.hidden_size, init, self.dtype)
        outputs = self.latent_size if self.point else self.family.size(self.latent_size)
        self.head = nn.Dense(outputs, use_bias=False, kernel_init=init)
        self.posterior = self.family.posterior  # a module's parameters become the encoder's

    def __call__(self, batch: Batch, context: Any = None, *, key: Key, train: bool) -> Distribution:
        """Computes the posterior over `[B, L]`, without noise: `key` is unused."""
        del context, key, train
        return self.from_embeddings(self.embedding(batch.x.ids), batch.x.lengths + 1)

    def from_embeddings(self, embedded: Array, lengths: Array) -> Distribution:
        """Computes the posterior of embeddings `[B, T, E]`, the first `lengths` `[B]` of them."""
        last: Array = self.lstm.last(self.lstm.project(embedded), lengths)
        if self.point:
            return Delta(self.head(last))
        posterior: Distribution = self.posterior(self.head(last))
        return posterior


def lstm_encoder(**options) -> Encoder:
    """Wraps `LSTMEncoder(**options)` as pure functions."""
    return encoder_from_module(LSTMEncoder(**options))


def build_lstm(options: NoOptions, shared: Any) -> Encoder:
    """Builds the encoder of a configuration."""
    del options
    return lstm_encoder(
        vocab_size=shared.vocab_size,
        latent_size=shared.latent_size,
        embed_size=shared.embed_size,
        hidden_size=shared.hidden_size,
        point=shared.point,
        family=shared.family,
        init_scale=shared.init_scale,
        embed_init_scale=shared.embed_init_scale,
        dtype=shared.dtype,
    )
