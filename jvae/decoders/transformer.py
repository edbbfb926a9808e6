"""The Transformer decoder, which reads a vector or a set of vectors."""

import dataclasses
from typing import Any

from flax import linen as nn

from jvae.batch import Batch
from jvae.configs import option
from jvae.layers import Carry, Transformer, sentence_log_prob, streamed_log_prob, word_dropout
from jvae.layers.transformer import ATTENTIONS
from jvae.layers.transformer_options import TransformerOptions
from jvae.model import Decoder, decoder_from_module
from jvae.random import Stream, stream
from jvae.types import Array, DType, Key


class TransformerDecoder(nn.Module):
    """`p(x | z) = prod_t p(x_t | x_<t, z)`; z enters every block.

    z is `[B, L]`, of which each block adds a linear map, or a `VectorSet`, to which it attends. The
    output layer sees the last block's `hidden`, or with `skip` `hidden + z W_s`.

    Attributes:
      vocab_size: V.
      latent_size: L, also of the vectors of a set.
      embed_size: E.
      hidden_size: H.
      layers, heads, feed_forward, norm, positions, max_positions, dropout_in, dropout_out,
        attention, attention_bias: see `jvae.layers.Transformer`.
      word_dropout: share of input words replaced by `<unk>` in training (Bowman et al., 2016).
      skip: whether z, one vector, also reaches the output layer directly; see `LSTMDecoder`.
      dtype: of the products' factors, see `jvae.layers.product`; None for the parameters' own.

    References:
      Vaswani et al. (2017), Attention Is All You Need, section 3.
    """

    vocab_size: int
    latent_size: int
    embed_size: int
    hidden_size: int
    layers: int = 2
    heads: int = 4
    feed_forward: int = 0
    norm: str = "pre"
    positions: str = "sinusoidal"
    max_positions: int = 256
    dropout_in: float = 0.1
    dropout_out: float = 0.1
    attention: str = "dot_product"
    attention_bias: str = "half"
    word_dropout: float = 0.0
    skip: bool = False
    dtype: DType = None

    def setup(self):
        """Makes embedding, blocks, output layer without bias."""
        self.embedding = nn.Embed(self.vocab_size, self.embed_size)
        self.transformer = Transformer(
            self.embed_size,
            self.hidden_size,
            self.layers,
            self.heads,
            self.feed_forward,
            self.norm,
            self.positions,
            self.max_positions,
            self.dropout_in,
            self.dropout_out,
            self.latent_size,
            self.attention,
            self.attention_bias,
            self.dtype,
        )
        if self.skip:
            self.latent_to_output = nn.Dense(self.hidden_size, use_bias=False)
        shape = (self.hidden_size, self.vocab_size)
        self.output_kernel = self.param("output_kernel", nn.initializers.lecun_normal(), shape)

    def log_prob(
        self, z: Any, batch: Batch, context: Any = None, *, key: Key, train: bool
    ) -> Array:
        """`log p(x | z)`, summed over the words and `</s>`: `[B]`, nats per sentence."""
        tokens, noise = batch.x.inputs, (key, batch.index) if train else None
        if train:
            words_key = stream(key, Stream.WORD_DROPOUT)
            tokens = word_dropout(tokens, self.word_dropout, key=words_key, index=batch.index)
        # Padding needs no mask: it comes after every real token, and nothing looks ahead.
        hidden = self.transformer(self.embedding(tokens), z, noise, causal=True)
        if self.skip:
            hidden += self.latent_to_output(z)[:, None]
        if not train:
            return streamed_log_prob(hidden, self.output_kernel, batch.x)
        return sentence_log_prob(hidden, self.output_kernel, batch.x, self.dtype)

    def start(self, z: Any, context: Any, max_length: int) -> tuple[Carry, Array | None]:
        """Returns empty caches, and the contributions of z to each block and to the output layer.

        Raises:
          UserError: `max_length` is more than the learned positions.
        """
        skipped = self.latent_to_output(z) if self.skip else None
        return self.transformer.start(z, max_length), skipped

    def step(
        self, carry: tuple[Carry, Array | None], token: Array
    ) -> tuple[tuple[Carry, Array | None], Array]:
        """Reads `token` `[B]`, predicts the next: logits `[B, V]`."""
        state, skipped = carry
        state, hidden = self.transformer.step(state, self.embedding(token))
        seen = hidden if skipped is None else hidden + skipped
        return (state, skipped), seen @ self.output_kernel


def transformer_decoder(**options) -> Decoder:
    """Wraps `TransformerDecoder(**options)` as pure functions."""
    return decoder_from_module(TransformerDecoder(**options))


@dataclasses.dataclass(frozen=True)
class TransformerDecoderOptions(TransformerOptions):
    """Options of the Transformer decoder."""

    attention: str = option("dot_product", "attention to a set of vectors", choices=ATTENTIONS)


def build_transformer(options: TransformerDecoderOptions, shared: Any) -> Decoder:
    """Builds the decoder of a configuration."""
    return transformer_decoder(
        vocab_size=shared.vocab_size,
        latent_size=shared.latent_size,
        embed_size=shared.embed_size,
        hidden_size=shared.hidden_size,
        **options.stack(),
        dropout_in=shared.dropout_in,
        dropout_out=shared.dropout_out,
        word_dropout=shared.word_dropout,
        attention=options.attention,
        attention_bias=options.attention_bias,
        skip=shared.skip,
        dtype=shared.dtype,
    )
