"""An LSTM whose input projections stand outside the recurrence."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jvae.layers.product import dense_product, product, sum_of_products
from jvae.types import Array, DType


class LSTMCarry(NamedTuple):
    """The state between two tokens: `cell` and `hidden`, both `[B, H]`."""

    cell: Array
    hidden: Array


def lstm_cell(carry: LSTMCarry, projected: Array, recurrent_kernel: Array) -> LSTMCarry:
    """Makes a step: `c' = f * c + i * g`, `h' = o * tanh(c')`, gates in the order i, f, g, o.

    Args:
      carry: `cell` and `hidden`, `[B, H]`.
      projected: `[B, 4H]`, what the input contributes to the gates, bias included.
      recurrent_kernel: `[H, 4H]`.

    References:
      Hochreiter and Schmidhuber (1997), without peepholes, as in PyTorch and He et al. (2019).
    """
    return _cell(carry.cell, projected + carry.hidden @ recurrent_kernel)[0]


def _cell(cell: Array, gates: Array) -> tuple[LSTMCarry, Array]:
    """Returns the new state and `t` `[B, 4H]`, in parts: `i, f, o = (1 + t) / 2` and `g = t`.

    `sigmoid(x) = (1 + tanh(x / 2)) / 2`: so one pass of one function makes all four gates.
    """
    size = cell.shape[-1]
    halves = jnp.full(size, 0.5, gates.dtype)
    t = jnp.tanh(jnp.concatenate([halves, halves, 2 * halves, halves]) * gates)
    i, f, g, o = jnp.split(t, 4, axis=-1)
    cell = 0.5 * ((1 + f) * cell + (1 + i) * g)
    return LSTMCarry(cell, 0.5 * (1 + o) * jnp.tanh(cell)), t


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def lstm_scan(
    recurrent_kernel: Array, start: LSTMCarry, projected: Array, dtype: DType = None
) -> Array:
    """Runs `lstm_cell` over all tokens: `projected` `[T, B, 4H]` -> hidden states `[T, B, H]`.

    Its gradient is written by hand. The derived one adds a `[H, 4H]` product over the batch to the
    kernel's gradient at every token; here the gates' gradients are kept, and the kernel's is one
    product over all tokens.

    Args:
      recurrent_kernel: `[H, 4H]`.
      start: the state before the first token.
      projected: what the inputs contribute to the gates, bias included.
      dtype: of the products' factors, see `jvae.layers.product`.
    """
    return _lstm_scan_forward(recurrent_kernel, start, projected, dtype)[0]


def _on_cpu_or_not(scan: Callable[..., tuple], *arrays) -> tuple:
    """Calls `scan(*arrays, turned)`; on a CPU small batches of wide states multiply turned.

    `(W' h')'` in place of `h W`: XLA's CPU products are 1.5 to 2.5 times as fast in this order when
    `h` has few rows and `W` does not fit into the cache (benchmarks/results/README.md).
    """
    rows, size = arrays[1].cell.shape
    if size < 512 or 4 * rows > size:
        return scan(*arrays, turned=False)
    return jax.lax.platform_dependent(
        *arrays, cpu=partial(scan, turned=True), default=partial(scan, turned=False)
    )


def _multiplier(kernel: Array, dtype: DType, turned: bool) -> Callable[[Array], Array]:
    """Makes `x -> x @ kernel`, to be called in a loop."""
    if dtype is not None:
        kernel = kernel.astype(dtype)  # once, not in every turn of the loop
    if not turned:
        return lambda x: product(x, kernel, dtype)
    # The barriers keep XLA from turning both back.
    columns = jax.lax.optimization_barrier(kernel.T)
    return lambda x: jax.lax.optimization_barrier(product(columns, x.T, dtype)).T


def _lstm_scan_forward(recurrent_kernel: Array, start: LSTMCarry, projected: Array, dtype: DType):
    def scan(recurrent_kernel: Array, start: LSTMCarry, projected: Array, turned: bool):
        recur = _multiplier(recurrent_kernel, dtype, turned)

        def body(carry: LSTMCarry, projected: Array):
            carry, t = _cell(carry.cell, projected + recur(carry.hidden))
            return carry, (t, carry)

        return jax.lax.scan(body, start, projected)[1]

    t, states = _on_cpu_or_not(scan, recurrent_kernel, start, projected)
    return states.hidden, (recurrent_kernel, start, t, states)


def _lstm_scan_backward(dtype: DType, residuals, d_outputs: Array):
    recurrent_kernel, start, t, states = residuals
    before = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), start, states)

    def scan(recurrent_kernel: Array, zeros: LSTMCarry, inputs, turned: bool):
        recur = _multiplier(recurrent_kernel.T, dtype, turned)

        def body(d_carry: LSTMCarry, inputs):
            t, cell, cell_before, d_output = inputs
            i, f, g, o = jnp.split(t, 4, axis=-1)
            tanh_cell = jnp.tanh(cell)
            d_hidden = d_carry.hidden + d_output
            d_cell = d_carry.cell + 0.5 * d_hidden * (1 + o) * (1 - tanh_cell**2)
            # sigmoid' = (1 - t^2) / 4 and, for g, tanh' = 1 - t^2
            d_gates = (0.25 * (1 - t**2)) * jnp.concatenate(
                [d_cell * g, d_cell * cell_before, 2 * d_cell * (1 + i), d_hidden * tanh_cell],
                axis=-1,
            )
            return LSTMCarry(0.5 * d_cell * (1 + f), recur(d_gates)), d_gates

        return jax.lax.scan(body, zeros, inputs, reverse=True)

    zeros = jax.tree.map(jnp.zeros_like, start)
    inputs = (t, states.cell, before.cell, d_outputs)
    d_start, d_gates = _on_cpu_or_not(scan, recurrent_kernel, zeros, inputs)
    return sum_of_products(before.hidden, d_gates, dtype), d_start, d_gates


lstm_scan.defvjp(_lstm_scan_forward, _lstm_scan_backward)


class LSTM(nn.Module):
    """A one-layer LSTM.

    The input's share of the gates is one product over all tokens (`project`), so that the scan
    holds only the `[B, H] x [H, 4H]` recurrence.

    Attributes:
      size: H.
      kernel_init: initialiser of all weights and of the bias.
      dtype: of the products' factors, see `jvae.layers.product`.
    """

    size: int
    kernel_init: nn.initializers.Initializer
    dtype: DType = None

    def setup(self):
        """Makes an input projection with bias, and a recurrent kernel."""
        self.input = nn.Dense(
            4 * self.size,
            kernel_init=self.kernel_init,
            bias_init=self.kernel_init,
            dot_general=dense_product(self.dtype),
        )
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.kernel_init, (self.size, 4 * self.size)
        )

    def project(self, x: Array) -> Array:
        """Computes `x W + b`: `[.., E]` -> `[.., 4H]`."""
        # Flat rows: the kernel's gradient is then one two-dimensional product.
        return self.input(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], 4 * self.size)

    def zero_carry(self, batch_size: int) -> LSTMCarry:
        """Returns the all-zero state, `[B, H]`."""
        zeros = jnp.zeros((batch_size, self.size), self.recurrent_kernel.dtype)
        return LSTMCarry(zeros, zeros)

    def step(self, carry: LSTMCarry, projected: Array) -> LSTMCarry:
        """Reads one token, `projected` `[B, 4H]`."""
        return lstm_cell(carry, projected, self.recurrent_kernel)

    def outputs(self, carry: LSTMCarry, projected: Array) -> Array:
        """Returns all hidden states from `carry` on: `projected` `[B, T, 4H]` -> `[B, T, H]`.

        Padding needs no mask here: it comes after every real token of its sentence.
        """
        by_time = jnp.swapaxes(projected, 0, 1)
        hidden = lstm_scan(self.recurrent_kernel, carry, by_time, self.dtype)
        return jnp.swapaxes(hidden, 0, 1)

    def last(self, projected: Array, lengths: Array) -> Array:
        """Returns the hidden state after each sentence's last token, `[B, H]`.

        Args:
          projected: `[B, T, 4H]`.
          lengths: `[B]`, how many of the T tokens are real.
        """
        batch_size = projected.shape[0]
        start = self.zero_carry(batch_size)
        by_time = jnp.swapaxes(projected, 0, 1)
        hidden = lstm_scan(self.recurrent_kernel, start, by_time, self.dtype)
        # A vmapped look-up has a gradient that XLA does not compile for two or more GPUs.
        last = (lengths - 1)[None, :, None]
        return jnp.take_along_axis(hidden, last, axis=0)[0]
