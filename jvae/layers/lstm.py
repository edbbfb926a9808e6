"""An LSTM whose input projections stand outside the recurrence."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jvae.types import Array


class LSTMCarry(NamedTuple):
    """The state between two tokens: `cell` and `hidden`, both `[B, H]`."""

    cell: Array
    hidden: Array


def lstm_cell(carry: LSTMCarry, projected: Array, recurrent_kernel: Array) -> LSTMCarry:
    """One step: `c' = f * c + i * g`, `h' = o * tanh(c')` with gates in the order i, f, g, o.

    Args:
      carry: `cell` and `hidden`, `[B, H]`.
      projected: `[B, 4H]`, what the input contributes to the gates, bias included.
      recurrent_kernel: `[H, 4H]`.

    References:
      Hochreiter and Schmidhuber (1997), without peepholes, as in PyTorch and He et al. (2019).
    """
    return _cell(carry, projected, recurrent_kernel)[0]


def _cell(carry: LSTMCarry, projected: Array, recurrent_kernel: Array):
    gates = projected + carry.hidden @ recurrent_kernel
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    i, f, g, o = nn.sigmoid(i), nn.sigmoid(f), jnp.tanh(g), nn.sigmoid(o)
    cell = f * carry.cell + i * g
    return LSTMCarry(cell, o * jnp.tanh(cell)), (i, f, g, o)


@jax.custom_vjp
def lstm_scan(recurrent_kernel: Array, start: LSTMCarry, projected: Array) -> Array:
    """`lstm_cell` over all tokens: `projected` `[T, B, 4H]` -> hidden states `[T, B, H]`.

    Its gradient is written by hand. The derived one adds a `[H, 4H]` product over the batch to the
    kernel's gradient at every token; here the gates' gradients are kept, and the kernel's is one
    product over all tokens.

    Args:
      recurrent_kernel: `[H, 4H]`.
      start: the state before the first token.
      projected: what the inputs contribute to the gates, bias included.
    """
    return _lstm_scan_forward(recurrent_kernel, start, projected)[0]


def _lstm_scan_forward(recurrent_kernel: Array, start: LSTMCarry, projected: Array):
    def body(carry: LSTMCarry, projected: Array):
        carry, gates = _cell(carry, projected, recurrent_kernel)
        return carry, (gates, carry)

    _, (gates, states) = jax.lax.scan(body, start, projected)
    return states.hidden, (recurrent_kernel, start, gates, states)


def _lstm_scan_backward(residuals, d_outputs: Array):
    recurrent_kernel, start, gates, states = residuals
    before = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), start, states)

    def body(d_carry: LSTMCarry, inputs):
        (i, f, g, o), cell, cell_before, d_output = inputs
        tanh_cell = jnp.tanh(cell)
        d_hidden = d_carry.hidden + d_output
        d_cell = d_carry.cell + d_hidden * o * (1 - tanh_cell**2)
        d_gates = jnp.concatenate(
            [
                d_cell * g * i * (1 - i),
                d_cell * cell_before * f * (1 - f),
                d_cell * i * (1 - g**2),
                d_hidden * tanh_cell * o * (1 - o),
            ],
            axis=-1,
        )
        return LSTMCarry(d_cell * f, d_gates @ recurrent_kernel.T), d_gates

    zeros = jax.tree.map(jnp.zeros_like, start)
    inputs = (gates, states.cell, before.cell, d_outputs)
    d_start, d_gates = jax.lax.scan(body, zeros, inputs, reverse=True)
    # Not of flat rows: with the batch spread over devices, flattening would gather it.
    d_kernel = jnp.einsum("tbh,tbg->hg", before.hidden, d_gates)
    return d_kernel, d_start, d_gates


lstm_scan.defvjp(_lstm_scan_forward, _lstm_scan_backward)


class LSTM(nn.Module):
    """A one-layer LSTM.

    The input's share of the gates is one product over all tokens (`project`), so that the scan
    holds only the `[B, H] x [H, 4H]` recurrence.

    Attributes:
      size: H.
      kernel_init: initialiser of all weights and of the bias.
    """

    size: int
    kernel_init: nn.initializers.Initializer

    def setup(self):
        """One input projection with bias, one recurrent kernel."""
        self.input = nn.Dense(
            4 * self.size, kernel_init=self.kernel_init, bias_init=self.kernel_init
        )
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.kernel_init, (self.size, 4 * self.size)
        )

    def project(self, x: Array) -> Array:
        """`x W + b`: `[.., E]` -> `[.., 4H]`."""
        # Flat rows: the kernel's gradient is then one two-dimensional product.
        return self.input(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], 4 * self.size)

    def zero_carry(self, batch_size: int) -> LSTMCarry:
        """The all-zero state, `[B, H]`."""
        zeros = jnp.zeros((batch_size, self.size), self.recurrent_kernel.dtype)
        return LSTMCarry(zeros, zeros)

    def step(self, carry: LSTMCarry, projected: Array) -> LSTMCarry:
        """One token, `projected` `[B, 4H]`."""
        return lstm_cell(carry, projected, self.recurrent_kernel)

    def outputs(self, carry: LSTMCarry, projected: Array) -> Array:
        """All hidden states from `carry` on: `projected` `[B, T, 4H]` -> `[B, T, H]`.

        Padding needs no mask here: it comes after every real token of its sentence.
        """
        hidden = lstm_scan(self.recurrent_kernel, carry, jnp.swapaxes(projected, 0, 1))
        return jnp.swapaxes(hidden, 0, 1)

    def last(self, projected: Array, lengths: Array) -> Array:
        """The hidden state after each sentence's own last token, `[B, H]`.

        Args:
          projected: `[B, T, 4H]`.
          lengths: `[B]`, how many of the T tokens are real.
        """
        batch_size = projected.shape[0]
        start = self.zero_carry(batch_size)
        hidden = lstm_scan(self.recurrent_kernel, start, jnp.swapaxes(projected, 0, 1))
        # Sentence by sentence: each device then looks into its own rows only.
        return jax.vmap(lambda steps, length: steps[length - 1], in_axes=(1, 0))(hidden, lengths)
