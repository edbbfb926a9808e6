"""The LSTM decoder of He et al. (2019)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jvae.batch import Batch, Tokens
from jvae.components import NoOptions
from jvae.layers import (
    LSTM,
    LSTMCarry,
    dropout,
    lstm_cell,
    next_token_log_prob,
    sentence_log_prob,
    symmetric_uniform,
    word_dropout,
)
from jvae.model import Decoder, decoder_from_module
from jvae.random import Stream, stream
from jvae.types import Array, DType, Key


class FromLatent(NamedTuple):
    """The contribution of z to every step of a sentence.

    Attributes:
      gates: `[B, 4H]`, its share of the gates.
      output: `[B, H]`, its share of the output layer's input, or None without a skip connection.
    """

    gates: Array
    output: Array | None


Carry = tuple[LSTMCarry, FromLatent]


class LSTMDecoder(nn.Module):
    """`p(x | z) = prod_t p(x_t | x_<t, z)`; z sets the initial state and enters every input.

    Initial state: `cell = z W_0`, `hidden = tanh(cell)`. Every gate also sees `z W_z`, which is
    computed once per sentence, not per token. The output layer sees `hidden`, or with `skip`
    `hidden + z W_s`, past all that the recurrence may forget.

    Attributes:
      vocab_size: V.
      latent_size: L.
      embed_size: E.
      hidden_size: H.
      dropout_in: dropout on the input embeddings.
      dropout_out: dropout on the hidden states before the output layer.
      word_dropout: share of input words replaced by `<unk>` in training (Bowman et al., 2016). At
        1, the inputless decoder, only z tells sentences apart; evaluation shows it the words again.
      skip: whether z also reaches the output layer directly (Dieng et al., 2019). Only the paper's
        abstract could be read; that the connection is linear is ours.
      init_scale: weights start from `U(-init_scale, init_scale)`.
      embed_init_scale: the same for embeddings.
      dtype: of the products' factors, see `jvae.layers.product`; None for the parameters' own.

    References:
      He et al. (2019), Lagging Inference Networks and Posterior Collapse, section 6.
      Dieng et al. (2019), Avoiding Latent Variable Collapse with Generative Skip Models.
    """

    vocab_size: int
    latent_size: int
    embed_size: int
    hidden_size: int
    dropout_in: float = 0.5
    dropout_out: float = 0.5
    word_dropout: float = 0.0
    skip: bool = False
    init_scale: float = 0.01
    embed_init_scale: float = 0.1
    dtype: DType = None

    def setup(self):
        """Makes embedding, the maps from z, LSTM, output layer without bias."""
        init = symmetric_uniform(self.init_scale)
        embed_init = symmetric_uniform(self.embed_init_scale)
        self.embedding = nn.Embed(self.vocab_size, self.embed_size, embedding_init=embed_init)
        self.lstm = LSTM(self.hidden_size, init, self.dtype)
        self.latent_to_cell = nn.Dense(self.hidden_size, use_bias=False, kernel_init=init)
        self.latent_to_gates = nn.Dense(4 * self.hidden_size, use_bias=False, kernel_init=init)
        if self.skip:
            self.latent_to_output = nn.Dense(self.hidden_size, use_bias=False, kernel_init=init)
        self.output_kernel = self.param("output_kernel", init, (self.hidden_size, self.vocab_size))

    def log_prob(
        self, z: Array, batch: Batch, context: Any = None, *, key: Key, train: bool
    ) -> Array:
        """`log p(x | z)`, summed over the words and `</s>`: `[B]`, nats per sentence."""
        carry, from_latent = self._from_latent(z)
        tokens = batch.x.inputs
        if train:
            words_key = stream(key, Stream.WORD_DROPOUT)
            tokens = word_dropout(tokens, self.word_dropout, key=words_key, index=batch.index)
        embedded = self.embedding(tokens)
        if train:
            in_key = stream(key, Stream.EMBEDDING_DROPOUT)
            embedded = dropout(embedded, self.dropout_in, key=in_key, index=batch.index)
        projected = self.lstm.project(embedded)
        if not train:
            return self._streamed_log_prob(carry, projected, from_latent, batch.x)
        hidden = self.lstm.outputs(carry, projected + from_latent.gates[:, None])
        out_key = stream(key, Stream.OUTPUT_DROPOUT)
        hidden = dropout(hidden, self.dropout_out, key=out_key, index=batch.index)
        if from_latent.output is not None:
            hidden += from_latent.output[:, None]
        return sentence_log_prob(hidden, self.output_kernel, batch.x, self.dtype)

    def _streamed_log_prob(
        self, carry: LSTMCarry, projected: Array, from_latent: FromLatent, x: Tokens
    ) -> Array:
        """Computes `log_prob` without a `[B, T, V]` array, for evaluation with many samples.

        One `[B, V]` of logits lives at a time; under `vmap` over samples, `projected` is shared.
        """
        recurrent_kernel, output_kernel = self.lstm.recurrent_kernel, self.output_kernel

        def body(state, inputs):
            carry, total = state
            gates, target, real = inputs
            carry = lstm_cell(carry, gates + from_latent.gates, recurrent_kernel)
            seen = _joined(carry.hidden, from_latent)
            log_prob = next_token_log_prob(seen @ output_kernel, target)
            return (carry, total + jnp.where(real, log_prob, 0)), None

        inputs = (jnp.swapaxes(projected, 0, 1), x.targets.T, x.mask.T)
        (_, total), _ = jax.lax.scan(body, (carry, jnp.zeros_like(carry.cell[:, 0])), inputs)
        return total

    def start(self, z: Array, context: Any, max_length: int) -> Carry:
        """Returns the state before the first token, which z sets; `max_length` does not matter."""
        del context, max_length
        return self._from_latent(z)

    def _from_latent(self, z: Array) -> Carry:
        """Returns the state before the first token, and z's share of every step."""
        cell = self.latent_to_cell(z)
        output = self.latent_to_output(z) if self.skip else None
        return LSTMCarry(cell, jnp.tanh(cell)), FromLatent(self.latent_to_gates(z), output)

    def step(self, carry: Carry, token: Array) -> tuple[Carry, Array]:
        """Reads `token` `[B]`, predicts the next: logits `[B, V]`."""
        state, from_latent = carry
        projected = self.lstm.project(self.embedding(token)) + from_latent.gates
        state = self.lstm.step(state, projected)
        return (state, from_latent), _joined(state.hidden, from_latent) @ self.output_kernel


def _joined(hidden: Array, from_latent: FromLatent) -> Array:
    """Returns the output layer's input, `[B, H]`."""
    return hidden if from_latent.output is None else hidden + from_latent.output


def lstm_decoder(**options) -> Decoder:
    """Wraps `LSTMDecoder(**options)` as pure functions."""
    return decoder_from_module(LSTMDecoder(**options))


def build_lstm(options: NoOptions, shared: Any) -> Decoder:
    """Builds the decoder of a configuration."""
    del options
    return lstm_decoder(
        vocab_size=shared.vocab_size,
        latent_size=shared.latent_size,
        embed_size=shared.embed_size,
        hidden_size=shared.hidden_size,
        dropout_in=shared.dropout_in,
        dropout_out=shared.dropout_out,
        word_dropout=shared.word_dropout,
        skip=shared.skip,
        init_scale=shared.init_scale,
        embed_init_scale=shared.embed_init_scale,
        dtype=shared.dtype,
    )
