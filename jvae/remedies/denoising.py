"""Denoising (Shen et al., 2020): the encoder reads a damaged sentence, the decoder the whole one.

`E_(x' ~ C(x' | x)) E_(z ~ q(z | x')) log p(x | z)`: sentences that differ by little damage share
their z, so that the latent space is spread by content. The damage C acts in training only.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jvae.batch import PAD, UNK, Batch, Tokens
from jvae.components import NoOptions
from jvae.distributions import Distribution
from jvae.model import Encoder, Inference
from jvae.random import Stream, example_keys, stream
from jvae.types import Array, Key, Params

# (sentences, draws [B, T + 1] in [0, 1), rate) -> sentences. `<s>` and `</s>` are never touched.
Noise = Callable[[Tokens, Array, float], Tokens]


def _is_word(x: Tokens) -> Array:
    """`[B, T + 1]` bool: neither `<s>`, `</s>` nor padding."""
    positions = jnp.arange(x.ids.shape[1])
    return (positions > 0) & (positions < x.lengths[:, None])


def drop(x: Tokens, draws: Array, rate: float) -> Tokens:
    """Leaves out each word with probability `rate`; what is left moves up."""
    real = jnp.arange(x.ids.shape[1]) <= x.lengths[:, None]
    kept = real & ~(_is_word(x) & (draws < rate))
    order = jnp.argsort(~kept, axis=1, stable=True)
    tokens = jnp.take_along_axis(jnp.where(kept, x.ids, PAD), order, axis=1)
    lengths = jnp.sum(kept, axis=1, dtype=x.lengths.dtype) - 1
    return Tokens(tokens, lengths)


def swap(x: Tokens, draws: Array, rate: float) -> Tokens:
    """Pairs neighbouring words and exchanges each pair with probability `rate`.

    The pairs are words 1-2, 3-4, .. or 2-3, 4-5, .., each choice in half of the cases: no word
    moves further than one place, as in the source's shuffle with distance 1.
    """
    positions = jnp.arange(x.ids.shape[1])
    first = 1 + (draws[:, :1] < 0.5)  # the draw of `<s>`, which no other use has
    partner = jnp.where(positions < first, positions, first + ((positions - first) ^ 1))
    coin = jnp.take_along_axis(draws, jnp.minimum(positions, partner), axis=1)
    exchanged = _is_word(x) & (partner < x.lengths[:, None]) & (coin < rate)
    chosen = jnp.where(exchanged, partner, positions)
    return Tokens(jnp.take_along_axis(x.ids, chosen, axis=1), x.lengths)


def mask(x: Tokens, draws: Array, rate: float) -> Tokens:
    """Replaces each word by `<unk>` with probability `rate`."""
    return Tokens(jnp.where(_is_word(x) & (draws < rate), UNK, x.ids), x.lengths)


NOISES: dict[str, Noise] = {"drop": drop, "swap": swap, "mask": mask}


def with_denoising(encoder: Encoder, noise: Noise, rate: float = 0.3) -> Encoder:
    """Wraps an encoder so that it reads damaged sentences in training.

    Args:
      encoder: of any kind of posterior.
      noise: an entry of `NOISES`.
      rate: see there. The source's script drops words at 0.3.

    References:
      Shen et al. (2020), Educating Text Autoencoders: Latent Representation Guidance via Denoising.
    """

    def apply(
        params: Params, batch: Batch, context: Any = None, *, key: Key, train: bool
    ) -> Distribution | Inference:
        if train:
            keys = example_keys(stream(key, Stream.DENOISING), batch.index)
            shape = batch.x.ids.shape[1:]
            draws = jax.vmap(lambda key: jax.random.uniform(key, shape))(keys)
            batch = batch.replace(x=noise(batch.x, draws, rate))
        return encoder.apply(params, batch, context, key=key, train=train)

    return encoder._replace(apply=apply)


def build_denoising(name: str) -> Callable[[NoOptions, Any], Callable[[Encoder], Encoder]]:
    """Returns the build function of a noise of `NOISES`."""

    def build(options: NoOptions, shared: Any) -> Callable[[Encoder], Encoder]:
        del options
        return partial(with_denoising, noise=NOISES[name], rate=shared.denoise_rate)

    return build
