"""Self-attention through a bottleneck: NVIB latents between the layers of an encoder."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from jvae.distributions.sets import VectorSet
from jvae.layers import DenoisingAttention
from jvae.layers.transformer import Noise
from jvae.posteriors.nvib import NVIB, NVIBHead
from jvae.priors.dirichlet_process import mixture_kl
from jvae.random import Stream, example_keys, stream
from jvae.types import Array, DType


class NVIBSelfAttention(nn.Module):
    """Denoising attention of a sentence's tokens to an NVIB latent `F ~ q(F | x)` made of them.

    The tokens x are the queries; keys and values are the latent's: a component for each token, and
    the prior's. `log alpha_i = w'x_i + v'x_i^2 + b + log alpha_i(layer below)`. In training F is a
    draw, hence impulses; else it is the mixture of Gaussians with weights `E[pi]`, without the
    components of small alpha. The layer above reads all alphas, as in training.

    Attributes:
      size: H, in and out, also of the latent's vectors.
      heads: of the attention; divides H.
      number: of the layer: each has noise of its own.
      prior_alpha: of the prior's component.
      prune: components up to this alpha are absent outside training.
      variant: of the attention, a key of `jvae.layers.denoising.VARIANTS`.
      dtype: of the products' factors, see `jvae.layers.product`.

    References:
      Behjati, Fehr and Henderson (2023), Learning to Abstract with Nonparametric Variational
      Information Bottleneck. Only its abstract and a copy of its code could be read (BUILD_NOTES).
    """

    size: int
    heads: int
    number: int
    prior_alpha: float = 1.0
    prune: float = 0.1
    variant: str = "half"
    dtype: DType = None

    def setup(self):
        """Makes the maps to the latent, and the attention."""
        self.latent = NVIBHead(self.size, "exp", 1, self.prior_alpha, prune=0.0)
        sizes = (self.heads, self.size, self.size)
        self.attention = DenoisingAttention(*sizes, self.variant, dtype=self.dtype)

    def __call__(
        self, x: Array, *, below: NVIB | None, noise: Noise, mask: Array
    ) -> tuple[Array, NVIB]:
        """Maps `[B, T, H]` -> `[B, T, H]`, and returns the latent.

        Args:
          x: the tokens.
          below: the latent of the NVIB layer below, if there is one.
          noise: the key and the sentences' numbers `[B]`; None outside training.
          mask: `[B, T]` bool, which tokens are real.
        """
        log_skip = 0.0 if below is None else below.log_alpha[:, 1:]
        q = self.latent(x, mask, train=noise is not None, log_skip=log_skip)
        return self.attention(x, self.read(q, noise)), q

    def read(self, q: NVIB, noise: Noise) -> VectorSet:
        """Returns the part of the latent that queries attend to."""
        if noise is None:
            return q.pruned(self.prune).mean
        return q.sample(example_keys(stream(noise[0], Stream.NVIB_LAYER, self.number), noise[1]))


def layer_terms(latents: Sequence[NVIB], *, delta: float, prior_alpha: float) -> dict[str, Array]:
    """`sum_l l KL_l / sum_l l` of the layers `l = 1, 2, ..` from below: `[B]`, nats of a sentence.

    "gaussian_layers" and "dirichlet_layers", of `jvae.priors.dirichlet_process.mixture_kl`.

    Args:
      latents: of the layers.
      delta: pseudo-counts that the prior expects of each token.
      prior_alpha: and without one.
    """
    terms = [mixture_kl(q, jnp.log(prior_alpha + delta * (q.rows - 1))) for q in latents]
    total = len(terms) * (len(terms) + 1) / 2
    weights = jnp.arange(1, len(terms) + 1) / total
    return {
        f"{name}_layers": jnp.tensordot(weights, jnp.stack([own[name] for own in terms]), axes=1)
        for name in terms[0]
    }
