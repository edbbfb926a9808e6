"""Matrix products, in float32 or with bfloat16 factors."""

from collections.abc import Callable
from functools import partial, wraps
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jvae.types import Array, DType

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def in_float32(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Wraps `function`: its float32 products are in full float32, also on a GPU or TPU.

    JAX's default there is faster: TF32, or factors rounded to bfloat16. For training that will do;
    what is reported is also compared, and the differences are small.
    """

    @wraps(function)
    def exact(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return exact


def product(x: Array, kernel: Array, dtype: DType = None) -> Array:
    """Computes `x @ kernel`: `[N, K]` and `[K, M]` -> `[N, M]`.

    Args:
      x: rows.
      kernel: weights.
      dtype: None for the arrays' own; else both factors are rounded to it, here and in the
        gradients, while sums and results stay in the arrays' own type (mixed precision:
        Micikevicius et al., 2018).
    """
    return x @ kernel if dtype is None else _rounded(x, kernel, dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _rounded(x: Array, kernel: Array, dtype: DType) -> Array:
    result = jnp.promote_types(x.dtype, kernel.dtype)
    return jnp.matmul(x.astype(dtype), kernel.astype(dtype), preferred_element_type=result)


def _forward(x: Array, kernel: Array, dtype: DType):
    return _rounded(x, kernel, dtype), (x, kernel)


def _backward(dtype: DType, factors: tuple[Array, Array], d_result: Array):
    # The derived gradient would multiply a float32 factor by a rounded one: no faster than float32.
    x, kernel = factors
    return _rounded(d_result, kernel.T, dtype), _rounded(x.T, d_result, dtype)


_rounded.defvjp(_forward, _backward)


def sum_of_products(x: Array, y: Array, dtype: DType = None) -> Array:
    """Computes `sum_tb x_tb y_tb'`: `[T, B, K]` and `[T, B, M]` -> `[K, M]`.

    Not of flat rows: with the batch spread over devices, flattening would gather it.
    """
    if dtype is None:
        return jnp.einsum("tbk,tbm->km", x, y)
    factors = (x.astype(dtype), y.astype(dtype))
    return jnp.einsum("tbk,tbm->km", *factors, preferred_element_type=y.dtype)


def dense_product(dtype: DType) -> Callable[..., Array]:
    """Wraps `product` as the `dot_general` of a `flax.linen.Dense`."""

    def dot_general(x: Array, kernel: Array, dimensions, precision=None) -> Array:
        del dimensions, precision  # a Dense contracts the last axis with the first
        return product(x, kernel, dtype)

    return dot_general


def by_row(dense: nn.Dense, x: Array) -> Array:
    """Computes `dense(x)` of flat rows: the kernel's gradient is one two-dimensional product."""
    return dense(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], dense.features)
