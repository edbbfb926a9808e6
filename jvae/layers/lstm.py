"""An LSTM whose input projections stand outside the recurrence."""

from functools import partial
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
    gates = projected + carry.hidden @ recurrent_kernel
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    cell = nn.sigmoid(f) * carry.cell + nn.sigmoid(i) * jnp.tanh(g)
    return LSTMCarry(cell, nn.sigmoid(o) * jnp.tanh(cell))


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

    def last(self, projected: Array, lengths: Array) -> LSTMCarry:
        """The state after each sentence's own last token.

        Args:
          projected: `[B, T, 4H]`.
          lengths: `[B]`, how many of the T tokens are real; padding leaves the state as it is.
        """
        kernel = self.recurrent_kernel  # read here: a scan body may not touch module variables

        def body(carry: LSTMCarry, inputs: tuple[Array, Array]) -> tuple[LSTMCarry, None]:
            step, gates = inputs
            after = lstm_cell(carry, gates, kernel)
            real = (step < lengths)[:, None]
            return jax.tree.map(partial(jnp.where, real), after, carry), None

        steps = jnp.arange(projected.shape[1])
        start = self.zero_carry(projected.shape[0])
        carry, _ = jax.lax.scan(body, start, (steps, jnp.swapaxes(projected, 0, 1)))
        return carry

    def outputs(self, carry: LSTMCarry, projected: Array) -> Array:
        """All hidden states from `carry` on: `projected` `[B, T, 4H]` -> `[B, T, H]`.

        Padding needs no mask here: it comes after every real token of its sentence.
        """
        kernel = self.recurrent_kernel

        def body(carry: LSTMCarry, gates: Array) -> tuple[LSTMCarry, Array]:
            carry = lstm_cell(carry, gates, kernel)
            return carry, carry.hidden

        _, hidden = jax.lax.scan(body, carry, jnp.swapaxes(projected, 0, 1))
        return jnp.swapaxes(hidden, 0, 1)
