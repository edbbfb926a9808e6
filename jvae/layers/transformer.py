"""The Transformer, for whole sentences and token by token."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jvae.distributions.sets import VectorSet
from jvae.errors import UserError
from jvae.layers.attention import CrossAttention, Memory, SelfAttention
from jvae.layers.denoising import DenoisingAttention
from jvae.layers.dropout import dropout
from jvae.layers.product import by_row, dense_product
from jvae.random import Stream, stream
from jvae.types import Array, DType, Key

NORMS = ("pre", "post")
POSITIONS = ("sinusoidal", "learned")
ATTENTIONS = ("dot_product", "denoising")

# Dropout's noise: the key at this step, and the sentences' numbers `[B]`; None outside training.
Noise = tuple[Key, Array] | None


class Carry(NamedTuple):
    """The state between two tokens.

    Attributes:
      position: `[]` int32, of the token to be read next.
      pasts: by block, the keys and values of the tokens read.
      memories: by block, the projections of z.
    """

    position: Array
    pasts: tuple[Memory, ...]
    memories: tuple[Any, ...]


def sinusoidal_positions(positions: Array, size: int) -> Array:
    """Computes `PE(t, 2i) = sin(t / 10000^(2i / size))`, `PE(t, 2i + 1)` its cosine: `[.., size]`.

    References:
      Vaswani et al. (2017), Attention Is All You Need, section 3.5.
    """
    rates = 10000.0 ** (-np.arange(0, size, 2) / size)
    angles = positions[..., None] * jnp.asarray(rates, jnp.float32)
    pairs = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return pairs.reshape(*angles.shape[:-1], -1)[..., :size]


class Block(nn.Module):
    """Self-attention, the share of z where a decoder has one, two layers with ReLU between.

    Each is a sublayer f: `x + f(norm(x))` with norm "pre", `norm(x + f(x))` with "post". The share
    of a z that is one vector is `W z`, as attention to a single vector gives it weight 1 whatever
    the query; no dropout falls on it.

    Attributes:
      size: H.
      heads: N; divides H.
      feed_forward: units between the two layers; 0 for 4 H.
      norm: one of `NORMS`.
      dropout: on the other sublayers' outputs.
      number: of the block: each has noise of its own.
      latent_size: of z, or of the vectors of a set.
      attention: to a set, one of `ATTENTIONS`.
      attention_bias: of "denoising", a key of `jvae.layers.denoising.VARIANTS`.
      dtype: of the products' factors, see `jvae.layers.product`.

    References:
      Vaswani et al. (2017), Attention Is All You Need, section 3.1 (post-norm).
      Xiong et al. (2020), On Layer Normalization in the Transformer Architecture (pre-norm).
    """

    size: int
    heads: int
    feed_forward: int
    norm: str
    dropout: float
    number: int
    latent_size: int
    attention: str
    attention_bias: str
    dtype: DType = None

    def setup(self):
        """Sublayers, of which a block has the parameters that it uses."""
        dot_general = dense_product(self.dtype)
        self.self_attention = SelfAttention(self.size, self.heads, self.dtype)
        self.latent = nn.Dense(self.size, use_bias=False, dot_general=dot_general)
        sizes = (self.heads, self.size)
        self.cross_attention = (
            DenoisingAttention(*sizes, self.latent_size, self.attention_bias, dtype=self.dtype)
            if self.attention == "denoising"
            else CrossAttention(*sizes, self.dtype)
        )
        self.widen = nn.Dense(self.feed_forward or 4 * self.size, dot_general=dot_general)
        self.narrow = nn.Dense(self.size, dot_general=dot_general)
        self.attention_norm = nn.LayerNorm()
        self.latent_norm = nn.LayerNorm()
        self.feed_forward_norm = nn.LayerNorm()

    def precompute(self, z: Any) -> Any:
        """Precomputes the projections of z that every token uses; None without a latent."""
        if isinstance(z, VectorSet):
            return self.cross_attention.precompute(z)
        return self.latent(z)[:, None] if z is not None and z.shape[-1] else None

    def __call__(
        self, x: Array, memory: Any, noise: Noise, *, mask: Array | None, causal: bool
    ) -> Array:
        """Maps whole sentences, `[B, T, H]` -> `[B, T, H]`.

        Args:
          x: the tokens.
          memory: see `precompute`.
          noise: of dropout.
          mask: see `SelfAttention`.
          causal: see there.
        """
        y = self.self_attention(self._before(self.attention_norm, x), mask=mask, causal=causal)
        x = self._after(self.attention_norm, x, self._dropped(0, y, noise))
        return self._rest(x, memory, noise)

    def through_latent(
        self, x: Array, attention: Callable[[Array], tuple[Array, Any]], noise: Noise
    ) -> tuple[Array, Any]:
        """Runs one block with `attention` in place of self-attention; also returns its latent."""
        y, latent = attention(self._before(self.attention_norm, x))
        x = self._after(self.attention_norm, x, self._dropped(0, y, noise))
        return self._rest(x, None, noise), latent

    def no_past(self, batch_size: int, max_length: int) -> Memory:
        """Returns `SelfAttention.no_past`."""
        past: Memory = self.self_attention.no_past(batch_size, max_length)
        return past

    def step(self, x: Array, memory: Any, past: Memory, position: Array) -> tuple[Array, Memory]:
        """Reads one more token, `[B, 1, H]` -> `[B, 1, H]`, and returns the cache with it."""
        before = self._before(self.attention_norm, x)
        y, past = self.self_attention.step(before, past, position)
        return self._rest(self._after(self.attention_norm, x, y), memory, None), past

    def _before(self, norm: nn.LayerNorm, x: Array) -> Array:
        return norm(x) if self.norm == "pre" else x

    def _after(self, norm: nn.LayerNorm, x: Array, y: Array) -> Array:
        return x + y if self.norm == "pre" else norm(x + y)

    def _dropped(self, sublayer: int, x: Array, noise: Noise) -> Array:
        if noise is None:
            return x
        key = stream(noise[0], Stream.OUTPUT_DROPOUT, 3 * self.number + sublayer)
        return dropout(x, self.dropout, key=key, index=noise[1])

    def _rest(self, x: Array, memory: Any, noise: Noise) -> Array:
        """Applies the sublayers that look at one token at a time."""
        if isinstance(memory, Array):
            x = self._after(self.latent_norm, x, memory)
        elif memory is not None:
            y = self.cross_attention.attend(self._before(self.latent_norm, x), memory)
            x = self._after(self.latent_norm, x, self._dropped(1, y, noise))
        y = by_row(self.widen, self._before(self.feed_forward_norm, x))
        y = by_row(self.narrow, nn.relu(y))
        return self._after(self.feed_forward_norm, x, self._dropped(2, y, noise))


class Transformer(nn.Module):
    """`layers` blocks over `sqrt(E) W e_t + p_t`, e_t an embedding and p_t its position.

    Where E = H there is no W. With norm "pre" the last block's output is normalised too.

    Attributes:
      embed_size: E.
      size: H.
      layers: blocks.
      heads: of each attention; divides H.
      feed_forward: units within each block; 0 for 4 H.
      norm: one of `NORMS`, see `Block`.
      positions: one of `POSITIONS`.
      max_positions: of learned positions.
      dropout_in: dropout on the first block's input.
      dropout_out: dropout on each sublayer's output.
      latent_size: of z, or of the vectors of a set; 0 where there is no z.
      attention: to a set, one of `ATTENTIONS`: "dot_product" asks only which vectors are there,
        "denoising" for their weights and variances, too.
      attention_bias: of "denoising", a key of `jvae.layers.denoising.VARIANTS`.
      dtype: of the products' factors, see `jvae.layers.product`.
    """

    embed_size: int
    size: int
    layers: int
    heads: int
    feed_forward: int
    norm: str
    positions: str
    max_positions: int
    dropout_in: float
    dropout_out: float
    latent_size: int = 0
    attention: str = "dot_product"
    attention_bias: str = "half"
    dtype: DType = None

    def setup(self):
        """Makes the linear map and the learned positions, where there are any, and the blocks."""
        if self.embed_size != self.size:
            dot_general = dense_product(self.dtype)
            self.widen = nn.Dense(self.size, use_bias=False, dot_general=dot_general)
        if self.positions == "learned":
            # About as large as sinusoids beside embeddings of variance 1.
            shape, init = (self.max_positions, self.size), nn.initializers.normal(0.5)
            self.table = self.param("position_table", init, shape)
        self.blocks = [
            Block(
                size=self.size,
                heads=self.heads,
                feed_forward=self.feed_forward,
                norm=self.norm,
                dropout=self.dropout_out,
                number=number,
                latent_size=self.latent_size,
                attention=self.attention,
                attention_bias=self.attention_bias,
                dtype=self.dtype,
            )
            for number in range(self.layers)
        ]
        if self.norm == "pre":
            self.final_norm = nn.LayerNorm()

    def __call__(
        self,
        embedded: Array,
        z: Any,
        noise: Noise,
        *,
        mask: Array | None = None,
        causal: bool = False,
    ) -> Array:
        """Maps whole sentences, `[B, T, E]` -> `[B, T, H]`.

        Args:
          embedded: the tokens.
          z: the latent that the blocks read, `[B, L]` or a `VectorSet`; None for none.
          noise: of dropout.
          mask: `[B, T]` bool, which tokens may be seen; None for all.
          causal: whether each token sees only itself and what came before.

        Raises:
          UserError: more tokens than learned positions.
        """
        hidden = self._first(embedded, noise)
        for block in self.blocks:
            hidden = block(hidden, block.precompute(z), noise, mask=mask, causal=causal)
        return self._outputs(hidden)

    def through_latents(
        self,
        embedded: Array,
        attentions: Sequence[Callable[..., Any]],
        noise: Noise,
        *,
        mask: Array,
    ) -> tuple[Array, list[Any]]:
        """Maps whole sentences without a z, with latents in the last blocks.

        Args:
          embedded: the tokens.
          attentions: of the last blocks, in place of their own: `(x [B, T, H], *, below, noise,
            mask) -> ([B, T, H], latent)`, `below` the latent of the block below, or None.
          noise: of dropout, and of the latents.
          mask: `[B, T]` bool, which tokens may be seen.

        Returns:
          `[B, T, H]`, and the latents from below.
        """
        hidden, latents = self._first(embedded, noise), []
        plain, below = len(self.blocks) - len(attentions), None
        for block in self.blocks[:plain]:
            hidden = block(hidden, None, noise, mask=mask, causal=False)
        for block, attention in zip(self.blocks[plain:], attentions, strict=True):
            read = partial(attention, below=below, noise=noise, mask=mask)
            hidden, below = block.through_latent(hidden, read, noise)
            latents.append(below)
        return self._outputs(hidden), latents

    def start(self, z: Any, max_length: int) -> Carry:
        """Returns empty caches for `max_length` tokens, and z's projections for each block.

        Raises:
          UserError: more tokens than learned positions.
        """
        self._check_length(max_length)
        rows = jax.tree.leaves(z)[0].shape[0]
        pasts = tuple(block.no_past(rows, max_length) for block in self.blocks)
        return Carry(jnp.int32(0), pasts, tuple(block.precompute(z) for block in self.blocks))

    def step(self, carry: Carry, embedded: Array) -> tuple[Carry, Array]:
        """Reads one more token of each sentence, from left to right: `[B, E]` -> `[B, H]`."""
        hidden, pasts = self._inputs(embedded[:, None], carry.position[None]), []
        for block, memory, past in zip(self.blocks, carry.memories, carry.pasts, strict=True):
            hidden, past = block.step(hidden, memory, past, carry.position)
            pasts.append(past)
        carry = Carry(carry.position + 1, tuple(pasts), carry.memories)
        return carry, self._outputs(hidden)[:, 0]

    def _check_length(self, length: int) -> None:
        if self.positions == "learned" and length > self.max_positions:
            raise UserError(
                f"{length} tokens are more than model.max_positions = {self.max_positions}, the "
                "learned positions: take or ask for shorter sentences (data.max_length), or "
                "train with more positions or with model.positions = 'sinusoidal'"
            )

    def _first(self, embedded: Array, noise: Noise) -> Array:
        """Returns the first block's input."""
        self._check_length(embedded.shape[1])
        hidden = self._inputs(embedded, jnp.arange(embedded.shape[1]))
        if noise is None:
            return hidden
        key = stream(noise[0], Stream.EMBEDDING_DROPOUT)
        return dropout(hidden, self.dropout_in, key=key, index=noise[1])

    def _inputs(self, embedded: Array, places: Array) -> Array:
        hidden = np.sqrt(self.embed_size).astype(embedded.dtype) * embedded
        if self.embed_size != self.size:
            hidden = by_row(self.widen, hidden)
        if self.positions == "learned":
            return hidden + self.table[places]
        return hidden + sinusoidal_positions(places, self.size).astype(hidden.dtype)

    def _outputs(self, hidden: Array) -> Array:
        return self.final_norm(hidden) if self.norm == "pre" else hidden
