"""The residual block's filter against XLA's convolution, and in pieces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jvae.layers import ResidualBlock
from jvae.layers.convolution import causal_taps

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("width", "dilation"), [(3, 1), (3, 4), (2, 3), (1, 2)])
def test_taps_times_a_kernel_are_a_dilated_convolution(width, dilation):
    x = jnp.asarray(RNG.normal(size=(2, 9, 3)), jnp.float32)
    kernel = jnp.asarray(RNG.normal(size=(width, 3, 4)), jnp.float32)
    reach = (width - 1) * dilation
    expected = jax.lax.conv_general_dilated(
        x,
        kernel,
        (1,),
        [(reach, 0)],
        rhs_dilation=(dilation,),
        dimension_numbers=("NTC", "TIO", "NTC"),
    )
    taps = causal_taps(jnp.pad(x, ((0, 0), (reach, 0), (0, 0))), width, dilation)
    np.testing.assert_allclose(taps @ kernel.reshape(width * 3, 4), expected, atol=1e-5)


def test_a_sentence_in_pieces_is_the_whole_sentence():
    block = ResidualBlock(5, 2, jax.nn.initializers.normal(0.5))
    x = jnp.asarray(RNG.normal(size=(2, 9, 5)), jnp.float32)
    start = jnp.zeros((2, 4, 3))
    params = jax.jit(block.init)(jax.random.key(0), start, x)
    apply = jax.jit(block.apply)
    np.testing.assert_array_equal(block.apply(params, 2, method="no_past"), start)
    past, whole = apply(params, start, x)
    assert np.all(np.any(whole != jax.nn.relu(x), axis=(0, 2)))  # the block does something
    piece_past, pieces = start, []
    for piece in jnp.split(x, [1, 2], axis=1):  # shorter and longer than the filter's reach
        piece_past, out = apply(params, piece_past, piece)
        pieces.append(out)
    np.testing.assert_allclose(jnp.concatenate(pieces, axis=1), whole, atol=1e-6)
    np.testing.assert_allclose(piece_past, past, atol=1e-6)
