"""The dilated convolution decoder of Yang et al. (2017)."""

import dataclasses
from typing import Any

from flax import linen as nn

from jvae.batch import Batch
from jvae.configs import option
from jvae.layers import (
    ResidualBlock,
    dense_product,
    dropout,
    sentence_log_prob,
    streamed_log_prob,
    symmetric_uniform,
    word_dropout,
)
from jvae.model import Decoder, decoder_from_module
from jvae.random import Stream, stream
from jvae.types import Array, DType, Key

# Dilations of the blocks. With filters of three taps, a prediction sees the last 15, 63, 125 and
# 509 tokens.
CNN_SIZES: dict[str, tuple[int, ...]] = {
    "S": (1, 2, 4),
    "M": (1, 2, 4, 8, 16),
    "L": (1, 2, 4, 8, 16) * 2,
    "VL": (1, 2, 4, 8, 16, 32, 64) * 2,
}

Carry = tuple[tuple[Array, ...], Array]


class CNNDecoder(nn.Module):
    """`p(x | z) = prod_t p(x_t | the last R tokens before t, z)`; z is joined to every input.

    `h_0 = [e(x_t); z] W + b`, then one residual block per dilation, then the output layer. R, the
    receptive field, is `1 + 2 * sum(dilations)`: the smaller it is, the more the decoder needs z.

    Uncertain, as only the paper's abstract and re-implementations could be read: the dilations of M
    to VL and the sizes of the blocks (1024, within 512) are from memory. Batch normalisation, which
    re-implementations have, is left out: a sentence's probability must not depend on its batch.

    Attributes:
      vocab_size: V.
      latent_size: L.
      embed_size: E.
      hidden_size: H, channels between blocks; within a block half as many.
      size: a key of `CNN_SIZES`. The source's best is L, on documents of 80 words; of a single
        sentence only S leaves something unseen.
      dropout_in: dropout on the input embeddings.
      dropout_out: dropout on the last block's output before the output layer.
      word_dropout: share of input words replaced by `<unk>` in training (Bowman et al., 2016).
      init_scale: weights start from `U(-init_scale, init_scale)`.
      embed_init_scale: the same for embeddings.
      dtype: of the products' factors, see `jvae.layers.product`; None for the parameters' own.

    References:
      Yang et al. (2017), Improved Variational Autoencoders for Text Modeling using Dilated
      Convolutions, section 3.
    """

    vocab_size: int
    latent_size: int
    embed_size: int
    hidden_size: int
    size: str = "S"
    dropout_in: float = 0.5
    dropout_out: float = 0.5
    word_dropout: float = 0.0
    init_scale: float = 0.01
    embed_init_scale: float = 0.1
    dtype: DType = None

    def setup(self):
        """Makes embedding, both halves of the input layer, blocks, output layer without bias."""
        init = symmetric_uniform(self.init_scale)
        embed_init = symmetric_uniform(self.embed_init_scale)
        self.embedding = nn.Embed(self.vocab_size, self.embed_size, embedding_init=embed_init)
        self.input = nn.Dense(
            self.hidden_size,
            kernel_init=init,
            bias_init=init,
            dot_general=dense_product(self.dtype),
        )
        self.latent_to_input = nn.Dense(self.hidden_size, use_bias=False, kernel_init=init)
        self.blocks = [
            ResidualBlock(self.hidden_size, dilation, init, dtype=self.dtype)
            for dilation in CNN_SIZES[self.size]
        ]
        self.output_kernel = self.param("output_kernel", init, (self.hidden_size, self.vocab_size))

    def log_prob(
        self, z: Array, batch: Batch, context: Any = None, *, key: Key, train: bool
    ) -> Array:
        """`log p(x | z)`, summed over the words and `</s>`: `[B]`, nats per sentence."""
        tokens = batch.x.inputs
        if train:
            words_key = stream(key, Stream.WORD_DROPOUT)
            tokens = word_dropout(tokens, self.word_dropout, key=words_key, index=batch.index)
        embedded = self.embedding(tokens)
        if train:
            in_key = stream(key, Stream.EMBEDDING_DROPOUT)
            embedded = dropout(embedded, self.dropout_in, key=in_key, index=batch.index)
        # Padding needs no mask: it comes after every real token, and nothing looks ahead.
        _, hidden = self._extend(self._from_latent(z), embedded)
        if not train:
            return streamed_log_prob(hidden, self.output_kernel, batch.x)
        out_key = stream(key, Stream.OUTPUT_DROPOUT)
        hidden = dropout(hidden, self.dropout_out, key=out_key, index=batch.index)
        return sentence_log_prob(hidden, self.output_kernel, batch.x, self.dtype)

    def _extend(self, carry: Carry, embedded: Array) -> tuple[Carry, Array]:
        """Reads T more tokens, `[B, T, E]` -> `[B, T, H]`."""
        pasts, from_latent = carry
        rows = embedded.reshape(-1, self.embed_size)
        projected = self.input(rows).reshape(*embedded.shape[:2], self.hidden_size)
        hidden = projected + from_latent[:, None]
        extended = []
        for block, past in zip(self.blocks, pasts, strict=True):
            past, hidden = block(past, hidden)
            extended.append(past)
        return (tuple(extended), from_latent), hidden

    def start(self, z: Array, context: Any, max_length: int) -> Carry:
        """Returns the state before the first token, of one size for any `max_length`."""
        del context, max_length
        return self._from_latent(z)

    def _from_latent(self, z: Array) -> Carry:
        """Returns each filter's past before the first token, and the share of z in the input."""
        pasts = tuple(block.no_past(z.shape[0]) for block in self.blocks)
        return pasts, self.latent_to_input(z)

    def step(self, carry: Carry, token: Array) -> tuple[Carry, Array]:
        """Reads `token` `[B]`, predicts the next: logits `[B, V]`."""
        carry, hidden = self._extend(carry, self.embedding(token)[:, None])
        return carry, hidden[:, 0] @ self.output_kernel


def cnn_decoder(**options) -> Decoder:
    """Wraps `CNNDecoder(**options)` as pure functions."""
    return decoder_from_module(CNNDecoder(**options))


@dataclasses.dataclass(frozen=True)
class CNNOptions:
    """Options of the convolutional decoder."""

    size: str = option("S", "number of blocks, hence of tokens that it sees", choices=CNN_SIZES)


def build_cnn(options: CNNOptions, shared: Any) -> Decoder:
    """Builds the decoder of a configuration."""
    return cnn_decoder(
        vocab_size=shared.vocab_size,
        latent_size=shared.latent_size,
        embed_size=shared.embed_size,
        hidden_size=shared.hidden_size,
        size=options.size,
        dropout_in=shared.dropout_in,
        dropout_out=shared.dropout_out,
        word_dropout=shared.word_dropout,
        init_scale=shared.init_scale,
        embed_init_scale=shared.embed_init_scale,
        dtype=shared.dtype,
    )
