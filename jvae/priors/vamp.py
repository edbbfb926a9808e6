"""The VampPrior: the encoder's own posteriors of K learned pseudo-sentences."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jvae.configs import option
from jvae.errors import UserError
from jvae.model import Encoder, Prior
from jvae.priors.mixture import GaussianMixture
from jvae.types import Key, Params


def vamp(
    *, encoder: Encoder, components: int, length: int, embed_size: int, init_scale: float
) -> Prior:
    """`p(z) = 1/K sum_k q(z | u_k)`: the aggregate posterior of K learnt sentences.

    The pseudo-sentences `u_k` are learned where a word would be looked up: as embeddings.

    Args:
      encoder: the model's own, with diagonal Gaussian posteriors; its parameters are shared.
      components: K. The source's 500 cost as much as a batch of 500 sentences, at each step.
      length: embeddings of a pseudo-sentence.
      embed_size: E.
      init_scale: pseudo-sentences start from `U(-init_scale, init_scale)`, as embeddings do.

    Raises:
      UserError: the encoder reads no embeddings.

    References:
      Tomczak and Welling (2018), VAE with a VampPrior, equation 9.
    """
    from_embeddings = encoder.from_embeddings
    if from_embeddings is None:
        raise UserError("the vamp prior needs an encoder with from_embeddings, see jvae/model.py")

    def init(key: Key) -> Params:
        shape = (components, length, embed_size)
        return {"pseudo": jax.random.uniform(key, shape, minval=-init_scale, maxval=init_scale)}

    def apply(params: Params, context: Any = None) -> GaussianMixture:
        pseudo = params["prior"]["pseudo"]
        q: Any = from_embeddings(params["encoder"], pseudo, jnp.full(components, length))
        return GaussianMixture(jnp.zeros(components), q.mean, q.log_var)

    return Prior(init, apply)


@dataclasses.dataclass(frozen=True)
class VampOptions:
    """Options of the VampPrior."""

    components: int = option(100, "number of pseudo-sentences", above=0)
    length: int = option(10, "embeddings of a pseudo-sentence", above=0)


def build_vamp(options: VampOptions, shared: Any) -> Prior:
    """Builds the prior of a configuration."""
    return vamp(
        encoder=shared.encoder,
        components=options.components,
        length=options.length,
        embed_size=shared.embed_size,
        init_scale=shared.embed_init_scale,
    )
