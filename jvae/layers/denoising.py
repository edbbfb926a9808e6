"""Attention over a set of weighted vectors: the query is a noisy observation of one of them.

With s = sqrt(E), E the width of a head, a head's query q reaches the space of the vectors as
`u = W_K q` and is read as `u = z + noise`, `z ~ sum_i pi_i N(mu_i, diag(sigma_i^2))` the set and
`noise ~ N(0, s I)`. The head gives `W_V' E[z | u]`. Over impulses, what training samples, this is
ordinary attention with a bias of the keys. Biases of keys or values need no argument: the former
cancel in the softmax, the latter add to the result.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jvae.distributions.sets import VectorSet
from jvae.errors import UserError
from jvae.layers.product import dense_product, product
from jvae.types import Array, DType

# A of the bias `- A sum_p log t_p`. "exact" adds `- sum_p u_p^2 / 2 t_p` and is Bayes' rule; "v1"
# is the form of the first paper's code, "half" that of the later ones.
VARIANTS = {"half": 0.5, "v1": 1.0, "exact": 0.5}

# The limit of log(sigma^2 / s): e^-40 is below the last digit of float64, e^40 overflows nowhere.
_MOST_LOG_RATIO = 40.0


class Impulses(NamedTuple):
    """A set of impulses, projected for attention.

    Attributes:
      keys, values: `[B, K, H, E]`.
      bias: `[B, K]`, `log pi - ||Z||^2 / 2 s`, minus infinity for what is absent.
    """

    keys: Array
    values: Array
    bias: Array


class Mixture(NamedTuple):
    """A mixture of Gaussians, projected for attention, with `t = sigma^2 + s`.

    Attributes:
      keys: `[B, K, P]`, `mu / t`, factors of u.
      squares: `[B, K, P]`, `sigma^2 / 2 s t`, factors of u^2 in "exact"; None elsewhere.
      of_query: `[B, K, P]`, `sigma^2 / t`, how much of u a component's mean holds.
      of_vector: `[B, K, P]`, `s mu / t`, the rest of that mean.
      bias: `[B, K]`, `log pi - sum_p mu_p^2 / 2 t_p - A sum_p log(t_p / s)`, minus infinity for
        what is absent.
    """

    keys: Array
    squares: Array | None
    of_query: Array
    of_vector: Array
    bias: Array


DenoisingMemory = Impulses | Mixture


def precompute(
    memory: VectorSet,
    key_kernel: Array,
    value_kernel: Array,
    *,
    variant: str = "half",
    dtype: DType = None,
) -> DenoisingMemory:
    """Computes the part of `denoising_attention` that no query enters.

    Args:
      memory: vectors `[B, K, P]`.
      key_kernel: `[P, H, E]`.
      value_kernel: `[P, H, E]`.
      variant: a key of `VARIANTS`; over impulses all are the same.
      dtype: of the factors of the impulses' projections, see `jvae.layers.product`.
    """
    present = memory.present
    # The content of absent rows reaches neither values nor gradients.
    log_weights = jnp.where(present, _wide(memory.log_weights), 0)
    vectors = jnp.where(present[..., None], _wide(memory.vectors), 0)
    noise_var = math.sqrt(key_kernel.shape[-1])
    if memory.log_vars is None:
        keys, values = (_project(vectors, w, dtype) for w in (key_kernel, value_kernel))
        bias = log_weights - jnp.sum(jnp.square(vectors), axis=-1) / (2 * noise_var)
        return Impulses(keys, values, jnp.where(present, bias, -jnp.inf))
    log_vars = jnp.where(present[..., None], _wide(memory.log_vars), 0)
    # By sigma^2 / s, whose log is bounded: neither sigma^2 / t nor s / t overflows. One exponential
    # and one logarithm serve all three; beyond the bound s / t is 0 to any float's last digit.
    log_ratio = log_vars - math.log(noise_var)
    ratio = jnp.exp(jnp.minimum(log_ratio, _MOST_LOG_RATIO))
    share = 1 / (1 + ratio)
    of_query, of_vector = ratio * share, share * vectors
    log_t = jnp.log1p(ratio) + jnp.maximum(log_ratio - _MOST_LOG_RATIO, 0)  # log(t / s)
    keys = of_vector / noise_var
    bias = (
        log_weights
        - jnp.sum(keys * vectors, axis=-1) / 2
        - VARIANTS[variant] * jnp.sum(log_t, axis=-1)
    )
    # - 1 / 2t = sigma^2 / (2 s t) - 1 / 2s, and the second is the same for all components.
    squares = of_query / (2 * noise_var) if variant == "exact" else None
    return Mixture(keys, squares, of_query, of_vector, jnp.where(present, bias, -jnp.inf))


def attend(
    query: Array,
    memory: DenoisingMemory,
    key_kernel: Array,
    value_kernel: Array,
    *,
    causal: bool = False,
) -> Array:
    """Computes `denoising_attention` over a memory precomputed with the same kernels.

    Args:
      query: `[B, T, H, E]`.
      memory: what `precompute` gave.
      key_kernel: `[P, H, E]`.
      value_kernel: `[P, H, E]`.
      causal: see `denoising_attention`.

    Returns:
      `[B, T, H, E]`.

    Raises:
      UserError: `causal`, and K is not a multiple of T + 1.
    """
    dtype, query = query.dtype, _wide(query)
    present = memory.bias != -jnp.inf
    bias = jnp.where(present, memory.bias, 0)[:, None, None]
    visible = present[:, None, None]
    if causal:
        visible = visible & _causal(query.shape[1], present.shape[1])[:, None]
    if isinstance(memory, Impulses):
        return _ordinary(query, memory, bias, visible).astype(dtype)
    batch, steps, heads, _ = query.shape
    in_latent = _by_head(query, jnp.transpose(_wide(key_kernel), (1, 2, 0)))
    # Tokens and heads side by side: the products have no axis of heads. And what could be one
    # product of concatenations is two, as a concatenation would have to be written first.
    rows = in_latent.reshape(batch, steps * heads, -1)
    logits = jnp.einsum("btp,bkp->btk", rows, memory.keys)
    if memory.squares is not None:
        logits += jnp.einsum("btp,bkp->btk", jnp.square(rows), memory.squares)
    weights = _softmax(logits.reshape(batch, steps, heads, -1) + bias, visible)
    weights = weights.reshape(batch, steps * heads, -1)
    of_query, of_vector = (weights @ m for m in (memory.of_query, memory.of_vector))
    mean = of_query.reshape(in_latent.shape) * in_latent + of_vector.reshape(in_latent.shape)
    return _by_head(mean, jnp.swapaxes(_wide(value_kernel), 0, 1)).astype(dtype)


def denoising_attention(
    query: Array,
    memory: VectorSet,
    key_kernel: Array,
    value_kernel: Array,
    *,
    causal: bool = False,
    variant: str = "half",
) -> Array:
    """Computes `W_V' E[z | u]`, `u = W_K q`, for a query q of each token and head.

    Over impulses Z_i, `softmax_i(q' W_K' Z_i / s + log pi_i - ||Z_i||^2 / 2 s)` weighs `W_V' Z_i`.
    Over a mixture, with `t_i = sigma_i^2 + s`,
    `w_i = softmax_i(sum_p u_p mu_ip / t_ip + log pi_i - sum_p mu_ip^2 / 2 t_ip - A sum_p log t_ip)`
    and `E[z | u] = sum_i w_i (sigma_i^2 u + s mu_i) / t_i`.

    Softmax and sums are in float32 at least; the result has the query's type.

    Args:
      query: `[B, T, H, E]`, projected.
      memory: vectors `[B, K, P]`; rows of weight 0 are masked, whatever they hold.
      key_kernel: `[P, H, E]`, W_K.
      value_kernel: `[P, H, E]`, W_V.
      causal: token t sees row 0, the prior's, and the rows 1 .. t + 1 of the tokens up to itself;
        so in each copy where K is a multiple of T + 1.
      variant: a key of `VARIANTS`.

    Returns:
      `[B, T, H, E]`, heads apart and before the output's projection.

    Raises:
      UserError: `causal`, and K is not a multiple of T + 1.

    References:
      Henderson and Fehr (2023), A VAE for Transformers with Nonparametric Variational Information
      Bottleneck. Only its abstract and its code could be read (BUILD_NOTES).
    """
    prepared = precompute(memory, key_kernel, value_kernel, variant=variant)
    return attend(query, prepared, key_kernel, value_kernel, causal=causal)


class DenoisingAttention(nn.Module):
    """`W_O [head_1; ..; head_H]` of `denoising_attention` with `q = W_Q x`, all without biases.

    `attend(x, precompute(memory))` is the same in two parts: a decoder precomputes once per
    sentence and attends once per token.

    Attributes:
      heads: H; divides D.
      size: D, the width of inputs and outputs; E is D / H.
      latent_size: P.
      variant: a key of `VARIANTS`.
      causal: see `denoising_attention`.
      dtype: of the products' factors, see `jvae.layers.product`; attention itself is not rounded.
    """

    heads: int
    size: int
    latent_size: int
    variant: str = "half"
    causal: bool = False
    dtype: DType = None

    def setup(self):
        """Makes four projections."""
        self.query, self.output = (
            nn.Dense(self.size, use_bias=False, dot_general=dense_product(self.dtype))
            for _ in range(2)
        )
        shape, init = (self.latent_size, self.size), nn.initializers.lecun_normal()
        self.key_kernel = self.param("key_kernel", init, shape)
        self.value_kernel = self.param("value_kernel", init, shape)

    def _kernels(self) -> tuple[Array, Array]:
        by_head = self.latent_size, self.heads, self.size // self.heads
        return self.key_kernel.reshape(by_head), self.value_kernel.reshape(by_head)

    def precompute(self, memory: VectorSet) -> DenoisingMemory:
        """Projects the set for attention; every array has B in front."""
        return precompute(memory, *self._kernels(), variant=self.variant, dtype=self.dtype)

    def attend(self, x: Array, memory: DenoisingMemory) -> Array:
        """Attends, `[B, T, D]` -> `[B, T, D]`."""
        batch, steps, _ = x.shape
        query = self.query(x.reshape(-1, self.size)).reshape(batch, steps, self.heads, -1)
        heads = attend(query, memory, *self._kernels(), causal=self.causal)
        return self.output(heads.reshape(-1, self.size)).reshape(x.shape)

    def __call__(self, x: Array, memory: VectorSet) -> Array:
        """Queries `[B, T, D]` over a set -> `[B, T, D]`."""
        return self.attend(x, self.precompute(memory))


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _project(vectors: Array, kernel: Array, dtype: DType) -> Array:
    """Projects `[B, K, P]` -> `[B, K, H, E]` by flat rows: the kernel's gradient is one product."""
    size = vectors.shape[-1]
    rows = product(vectors.reshape(-1, size), _wide(kernel).reshape(size, -1), dtype)
    return rows.reshape(*vectors.shape[:-1], *kernel.shape[1:])


def _by_head(x: Array, kernels: Array) -> Array:
    """Multiplies head by head, `[B, T, H, M]` and `[H, M, N]` -> `[B, T, H, N]`.

    Head by head: on a CPU, XLA is slower with one product that has an axis of heads.
    """
    products = [x[:, :, h].reshape(-1, x.shape[-1]) @ kernel for h, kernel in enumerate(kernels)]
    return jnp.stack(products, axis=1).reshape(*x.shape[:-1], -1)


def _causal(steps: int, rows: int) -> Array:
    """Returns which rows each token sees, `[T, K]` bool."""
    if rows % (steps + 1):
        raise UserError(
            f"causal attention of {steps} tokens needs a memory of {steps + 1} rows, or so many in "
            f"each copy, not {rows}: give it the prior's row and one row for each token"
        )
    return jnp.arange(rows) % (steps + 1) <= jnp.arange(1, steps + 1)[:, None]


def _softmax(logits: Array, visible: Array) -> Array:
    # Not minus infinity: where nothing is visible, the result stays finite.
    return jax.nn.softmax(jnp.where(visible, logits, jnp.finfo(logits.dtype).min), axis=-1)


def _ordinary(query: Array, memory: Impulses, bias: Array, visible: Array) -> Array:
    """Attends with a bias, `[B, T, H, E]`; bias and `visible` broadcast to `[B, T, H, K]`."""
    keys, values = memory.keys, memory.values
    if query.dtype != jnp.float64:
        bias, visible = (jnp.swapaxes(x, 1, 2) for x in (bias, visible))
        return jax.nn.dot_product_attention(query, keys, values, bias=bias, mask=visible)
    # JAX's softmax is in float32 here even when all else is in float64.
    logits = jnp.einsum("bthe,bkhe->bthk", query, keys) / math.sqrt(query.shape[-1])
    return jnp.einsum("bthk,bkhe->bthe", _softmax(logits + bias, visible), values)
