"""Causal dilated convolutions, for whole sentences and token by token."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jvae.layers.product import by_row, dense_product
from jvae.types import Array, DType


def causal_taps(padded: Array, width: int, dilation: int) -> Array:
    """Stacks a causal filter's taps: `[x_(t - (width - 1) dilation), .., x_(t - dilation), x_t]`.

    A convolution is then one matrix product, which is rounded like all others
    (`jvae.layers.product`).

    Args:
      padded: `[B, (width - 1) * dilation + T, C]`, the T inputs after their past.
      width: taps of the filter.
      dilation: tokens from one tap to the next.

    Returns:
      `[B, T, width * C]`.
    """
    steps = padded.shape[1] - (width - 1) * dilation
    taps = [padded[:, k * dilation : k * dilation + steps] for k in range(width)]
    return jnp.concatenate(taps, axis=-1)


class ResidualBlock(nn.Module):
    """`y = relu(x + W_3 relu(b + sum_k W_2k relu(W_1 x)_(t - k dilation)))`.

    The product with `W_1` narrows C channels to half as many for the filter, that with `W_3`
    widens them again; each has a bias. Before the first token the filter sees zeros.

    Attributes:
      size: C.
      dilation: tokens from one tap of the filter to the next.
      kernel_init: initialiser of all weights and biases.
      width: taps of the filter.
      dtype: of the products' factors, see `jvae.layers.product`.

    References:
      Yang et al. (2017), Improved Variational Autoencoders for Text Modeling using Dilated
      Convolutions, section 3.3.
    """

    size: int
    dilation: int
    kernel_init: nn.initializers.Initializer
    width: int = 3
    dtype: DType = None

    def setup(self):
        """Makes three products."""

        def dense(size: int) -> nn.Dense:
            return nn.Dense(
                size,
                kernel_init=self.kernel_init,
                bias_init=self.kernel_init,
                dot_general=dense_product(self.dtype),
            )

        self.narrow, self.filter, self.widen = map(dense, (self.inner, self.inner, self.size))

    @property
    def inner(self) -> int:
        """Channels of the filter."""
        return (self.size + 1) // 2

    def no_past(self, batch_size: int) -> Array:
        """Returns the past before the first token, `[B, (width - 1) * dilation, C / 2]`."""
        return jnp.zeros((batch_size, (self.width - 1) * self.dilation, self.inner))

    def __call__(self, past: Array, x: Array) -> tuple[Array, Array]:
        """Goes on after `past` with T tokens: `[B, T, C]` -> (the new past, `[B, T, C]`)."""
        narrow = jax.nn.relu(by_row(self.narrow, x))
        padded = jnp.concatenate([past, narrow], axis=1)
        taps = causal_taps(padded, self.width, self.dilation)
        filtered = jax.nn.relu(by_row(self.filter, taps))
        return padded[:, x.shape[1] :], jax.nn.relu(x + by_row(self.widen, filtered))
