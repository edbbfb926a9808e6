"""The Transformer encoder: a sentence to one vector, or to a set of them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jvae.batch import Batch
from jvae.configs import option
from jvae.distributions import Delta, Distribution
from jvae.encoders.bottleneck import NVIBSelfAttention, layer_terms
from jvae.layers import Transformer
from jvae.layers.transformer_options import TransformerOptions
from jvae.model import Encoder, Inference, encoder_from_module
from jvae.posteriors import DIAGONAL, Family, TokenFamily
from jvae.types import Array, DType, Key


def _mean(hidden: Array, mask: Array) -> Array:
    total = jnp.sum(jnp.where(mask[..., None], hidden, 0), axis=1)
    return total / jnp.sum(mask, axis=1, keepdims=True)


def _max(hidden: Array, mask: Array) -> Array:
    return jnp.max(jnp.where(mask[..., None], hidden, -jnp.inf), axis=1)


# By name: hidden states `[B, T, H]` and which are real `[B, T]` -> `[B, H]`.
POOLINGS: dict[str, Callable[[Array, Array], Array]] = {
    "mean": _mean,
    "max": _max,
    "first": lambda hidden, mask: hidden[:, 0],
}


class TransformerEncoder(nn.Module):
    """A posterior of what `layers` blocks make of the words and `</s>`.

    For one vector, a linear map of the pooled hidden states gives the parameters of the family; a
    `TokenFamily` reads all hidden states itself.

    Attributes:
      vocab_size: V.
      latent_size: L.
      embed_size: E.
      hidden_size: H.
      point: a point mass at the mean instead, for autoencoders; a `TokenFamily` knows it itself.
      family: of posteriors, see `jvae.posteriors`.
      layers, heads, feed_forward, norm, positions, max_positions, dropout_in, dropout_out: see
        `jvae.layers.Transformer`.
      pooling: a key of `POOLINGS`; of no use to a `TokenFamily`.
      nvib_layers: the last so many blocks attend to a latent of their input, `NVIBSelfAttention`;
        what these latents cost comes with the posterior, as an `Inference`.
      nvib_delta, nvib_prior_alpha: of their prior, see `jvae.priors.dirichlet_process`.
      nvib_prune: see `NVIBSelfAttention`.
      attention_bias: of their attention, see there.
      dtype: of the products' factors, see `jvae.layers.product`; None for the parameters' own.

    References:
      Vaswani et al. (2017), Attention Is All You Need, section 3.
    """

    vocab_size: int
    latent_size: int
    embed_size: int
    hidden_size: int
    point: bool = False
    family: Family | TokenFamily = DIAGONAL
    layers: int = 2
    heads: int = 4
    feed_forward: int = 0
    norm: str = "pre"
    positions: str = "sinusoidal"
    max_positions: int = 256
    pooling: str = "mean"
    nvib_layers: int = 0
    nvib_delta: float = 1.0
    nvib_prior_alpha: float = 1.0
    nvib_prune: float = 0.1
    attention_bias: str = "half"
    dropout_in: float = 0.1
    dropout_out: float = 0.1
    dtype: DType = None

    def setup(self):
        """Makes embedding, blocks, and the posterior's linear map."""
        self.embedding = nn.Embed(self.vocab_size, self.embed_size)
        self.transformer = Transformer(
            self.embed_size,
            self.hidden_size,
            self.layers,
            self.heads,
            self.feed_forward,
            self.norm,
            self.positions,
            self.max_positions,
            self.dropout_in,
            self.dropout_out,
            dtype=self.dtype,
        )
        self.bottlenecks = [
            NVIBSelfAttention(
                self.hidden_size,
                self.heads,
                number,
                self.nvib_prior_alpha,
                self.nvib_prune,
                self.attention_bias,
                self.dtype,
            )
            for number in range(self.nvib_layers)
        ]
        if isinstance(self.family, Family):
            outputs = self.latent_size if self.point else self.family.size(self.latent_size)
            self.head = nn.Dense(outputs, use_bias=False)
        self.posterior = self.family.posterior  # a module's parameters become the encoder's

    def __call__(
        self, batch: Batch, context: Any = None, *, key: Key, train: bool
    ) -> Distribution | Inference:
        """Computes the posterior over `[B, L]`, or over sets of vectors."""
        del context
        x, noise = batch.x, (key, batch.index) if train else None
        embedded = self.embedding(x.targets)
        hidden, latents = self.transformer.through_latents(
            embedded, self.bottlenecks, noise, mask=x.mask
        )
        q = self._posterior(hidden, x.mask, train)
        if not latents:
            return q
        first = self.layers - self.nvib_layers + 1
        metrics = {
            f"vectors_layer_{number}": latent.pruned(layer.prune).kept
            for number, (layer, latent) in enumerate(
                zip(self.bottlenecks, latents, strict=True), first
            )
        }
        terms = layer_terms(latents, delta=self.nvib_delta, prior_alpha=self.nvib_prior_alpha)
        return Inference(q, terms, metrics)

    def from_embeddings(self, embedded: Array, lengths: Array) -> Distribution:
        """Computes the posterior, without noise, of embeddings `[B, T, E]`, the first `lengths`."""
        mask = jnp.arange(embedded.shape[1]) < lengths[:, None]
        hidden, _ = self.transformer.through_latents(embedded, self.bottlenecks, None, mask=mask)
        return self._posterior(hidden, mask, False)

    def _posterior(self, hidden: Array, mask: Array, train: bool) -> Distribution:
        posterior: Any = self.posterior
        if isinstance(self.family, TokenFamily):
            return posterior(hidden, mask, train=train)
        outputs = self.head(POOLINGS[self.pooling](hidden, mask))
        return Delta(outputs) if self.point else posterior(outputs)


def transformer_encoder(**options) -> Encoder:
    """Wraps `TransformerEncoder(**options)` as pure functions."""
    return encoder_from_module(TransformerEncoder(**options))


@dataclasses.dataclass(frozen=True)
class TransformerEncoderOptions(TransformerOptions):
    """Options of the Transformer encoder; those of its NVIB layers are the nvib posterior's."""

    pooling: str = option("mean", "pooling of the states to one vector", choices=POOLINGS)
    nvib_layers: int = option(
        0, "last blocks that attend to an NVIB latent of their input", at_least=0
    )


def build_transformer(options: TransformerEncoderOptions, shared: Any) -> Encoder:
    """Builds the encoder of a configuration."""
    return transformer_encoder(
        vocab_size=shared.vocab_size,
        latent_size=shared.latent_size,
        embed_size=shared.embed_size,
        hidden_size=shared.hidden_size,
        point=shared.point,
        family=shared.family,
        **options.stack(),
        dropout_in=shared.dropout_in,
        dropout_out=shared.dropout_out,
        pooling=options.pooling,
        nvib_layers=options.nvib_layers,
        nvib_delta=shared.nvib.delta,
        nvib_prior_alpha=shared.nvib.prior_alpha,
        nvib_prune=shared.nvib.threshold("exp"),
        attention_bias=options.attention_bias,
        dtype=shared.dtype,
    )
