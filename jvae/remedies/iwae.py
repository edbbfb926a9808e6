"""The importance-weighted bound as an objective, with two gradients for the encoder."""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp

from jvae.batch import Batch
from jvae.distributions import kl_divergence, sample_and_log_prob
from jvae.errors import UserError
from jvae.model import VAE
from jvae.objectives import ELBOTerms, Scheduled
from jvae.objectives.elbo import latent_keys
from jvae.random import Stream, sample_keys, stream
from jvae.types import Array, Key, Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class IWAETerms(ELBOTerms):
    """The terms of the ELBO, for the log, beside the bound.

    Attributes:
      bound: `[B]`, nats per example.
    """

    bound: Array = dataclasses.field(kw_only=True)


def iwae(
    model: VAE,
    params: Params,
    batch: Batch,
    *,
    key: Key,
    num_samples: int,
    train: bool,
    gradient: str = "plain",
) -> IWAETerms:
    """`log 1/K sum_k w_k`, `w_k = p(x, z_k) / q(z_k | x)`, `z_k ~ q(z | x)`: tighter as K grows.

    Decoder and prior always get `sum_k v_k grad log w_k` with `v_k = w_k / sum_j w_j`. The encoder
    gets, with "plain", the derivative of the bound, whose signal over noise falls as K grows; with
    "dreg", doubly reparameterised, `sum_k v_k^2 (d log w_k / d z_k) (d z_k / d encoder)`, which has
    the same mean for every K and noise that vanishes as q nears the true posterior.

    Args:
      model: the VAE.
      params: its parameters.
      batch: B examples.
      key: see `jvae.elbo`.
      num_samples: K.
      train: whether dropout acts. Its noise is one for all samples of a sentence.
      gradient: "plain" or "dreg".

    Raises:
      TypeError: the posterior has no density (an autoencoder), or with "dreg" only that of its
        own draws (a flow).
      UserError: the decoder has latents of its own.

    References:
      Burda et al. (2016), Importance Weighted Autoencoders, equation 8; Tucker et al. (2019),
      Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives, equation 8.
    """
    if model.decoder.joint is not None:
        raise UserError(
            "iwae does not weigh a decoder's latents of its own: take another decoder or the ELBO"
        )
    context = model.context(params, batch.condition, key=key, train=train)
    inference = model.infer(params, batch, context, key=key, train=train)
    q, p = inference.posterior, model.prior.apply(params, context)
    keys = sample_keys(latent_keys(key, batch), jnp.arange(num_samples))
    z, log_q = jax.vmap(partial(sample_and_log_prob, q))(keys)
    density, extra = q, jnp.zeros(())
    if gradient == "dreg":
        z, extra = _weigh_again(z)
        density = jax.lax.stop_gradient(q)
    decoder_key = stream(key, Stream.DECODER)

    def log_likelihood(z: Array) -> Array:
        return model.decoder.log_prob(
            params["decoder"], z, batch, context, key=decoder_key, train=train
        )

    log_likelihoods = jax.vmap(log_likelihood)(z)
    if log_q is None or gradient == "dreg":  # which needs the density at fixed parameters
        log_q = jax.vmap(density.log_prob)(z)
    log_weights = log_likelihoods + jax.vmap(p.log_prob)(z) - log_q + extra
    kl, analytic = kl_divergence(q, p, z, log_q)
    return IWAETerms(
        jnp.mean(log_likelihoods, axis=0),
        {"latent": kl},
        frozenset() if analytic else frozenset({"latent"}),
        statistics={"encoder": inference.statistics} if inference.statistics else {},
        bound=jax.nn.logsumexp(log_weights, axis=0) - math.log(num_samples),
    )


@jax.custom_vjp
def _weigh_again(z: Array) -> tuple[Array, Array]:
    """Returns the samples `[K, B, L]`, and zeros `[K, B]` to add to the log weights.

    The backward pass reads the weights off the gradient of the zeros, and multiplies that of z by
    them: the forward pass is not repeated.
    """
    return z, jnp.zeros(z.shape[:-1], z.dtype)


def _forward(z: Array) -> tuple[tuple[Array, Array], None]:
    return _weigh_again(z), None


def _backward(_: None, gradients: tuple[Array, Array]) -> tuple[Array]:
    of_z, of_log_weights = gradients
    # v_k times what the loss gives the sentence's bound: 0 for a padding row.
    total = jnp.sum(of_log_weights, axis=0)
    normalised = of_log_weights / jnp.where(total == 0, 1, total)
    return (of_z * normalised[..., None],)


_weigh_again.defvjp(_forward, _backward)


def negative_iwae(terms: ELBOTerms, scheduled: Scheduled, weight: Array) -> Array:
    """`-bound`, nats per example: the loss of `IWAETerms`."""
    del scheduled, weight
    assert isinstance(terms, IWAETerms)
    return -terms.bound
