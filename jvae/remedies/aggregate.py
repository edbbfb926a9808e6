"""Terms of the aggregate posterior `q(z) = mean_b q(z | x_b)` of a batch.

The KL of the ELBO punishes two things at once: `KL(q(z | x) || p(z)) = I(x; z) + KL(q(z) || p(z))`
on average (Hoffman and Johnson, 2016). What is said about x is what is wanted, so that these terms
ask for the other part alone. They look at all sentences of a batch at once: a batch in parts is
another term.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jvae.distributions import Distribution
from jvae.objectives import ELBOTerms, Loss
from jvae.random import Stream, example_keys, stream
from jvae.types import Array, Batch, Key, Params
from jvae.vae import VAE

MMD, MUTUAL_INFORMATION = "mmd", "mutual_information"

Terms = Callable[..., ELBOTerms]  # `jvae.elbo`, or one that takes its arguments
Kernel = Callable[[Array, int], Array]  # (squared distances, L) -> similarities, 1 at distance 0


def rbf(squared: Array, size: int) -> Array:
    """`exp(-|z - z'|^2 / L^2)`, the width of Zhao et al.'s scripts."""
    return jnp.exp(-squared / size**2)


def inverse_multiquadric(squared: Array, size: int) -> Array:
    """`C / (C + |z - z'|^2)`, `C = 2 L`: heavy tails (Tolstikhin et al., 2018, section 4)."""
    return 2 * size / (2 * size + squared)


KERNELS: dict[str, Kernel] = {"rbf": rbf, "imq": inverse_multiquadric}


def mmd(z: Array, other: Array, weight: Array, kernel: Kernel) -> Array:
    """`E k(z, z') + E k(y, y') - 2 E k(z, y)`, unbiased: about 0, or just below, for one source.

    Args:
      z: `[B, L]`, independent draws of one distribution.
      other: `[B, L]`, of the other: y.
      weight: `[B]`, 0 for rows of both that do not count.
      kernel: an entry of `KERNELS`.

    References:
      Gretton et al. (2012), A Kernel Two-Sample Test, equation 3.
    """

    def mean_similarity(x: Array, y: Array, weights: Array) -> Array:
        squared = jnp.sum(jnp.square(x[:, None] - y), axis=-1)
        # One real row has no pair.
        return jnp.sum(weights * kernel(squared, z.shape[1])) / jnp.maximum(jnp.sum(weights), 1)

    pairs = weight[:, None] * weight
    others = pairs * (1 - jnp.eye(len(weight)))
    within = mean_similarity(z, z, others) + mean_similarity(other, other, others)
    return within - 2 * mean_similarity(z, other, pairs)


def mutual_information(q: Distribution, z: Array, weight: Array) -> Array:
    """`log q(z_b | x_b) - log mean_c q(z_b | x_c)`, `[B]`: their mean estimates `I_q(x; z)`, nats.

    At most the log of the number of sentences, for each of them. It is the difference of one-sample
    estimates of `KL(q(z | x) || p(z))` and of `KL(q(z) || p(z))` within the batch, where the prior
    cancels.

    Args:
      q: posterior over `[B, L]`, with a density.
      z: `[B, L]`, one draw of each.
      weight: `[B]`, 0 for rows that do not count.

    References:
      Hoffman and Johnson (2016), ELBO surgery, for the two parts; He et al. (2019), section 4.2,
      for the aggregate posterior of a batch.
    """
    log_aggregate = jax.nn.logsumexp(q.log_prob(z[:, None]), b=weight, axis=1)
    return q.log_prob(z) - log_aggregate + jnp.log(jnp.sum(weight))


def prior_draws(model: VAE, params: Params, batch: Batch, key: Key) -> Array:
    """`[B, L]`: a z from the prior for each sentence, by its number."""
    keys = example_keys(stream(key, Stream.AGGREGATE), batch.index)
    return model.prior.distribution(params).sample(keys)


def with_mmd(terms_of: Terms, kernel: str = "rbf") -> Terms:
    """The same terms, with `MMD(q(z), p(z))` of the batch among the auxiliary ones.

    Equal for all sentences `[B]`, so that their mean adds it once. `-ELBO` with the KL at weight
    `1 - alpha` and this at `alpha + lambda - 1` is InfoVAE: at alpha = 1 nothing but the aggregate
    posterior is held to the prior, at alpha = 0, lambda = 1 it is the ELBO.

    Args:
      terms_of: e.g. `jvae.elbo`.
      kernel: a key of `KERNELS`.

    References:
      Zhao et al. (2019), InfoVAE: Balancing Learning and Inference in Variational Autoencoders,
      equation 6; with a point posterior it is Tolstikhin et al. (2018), Wasserstein Auto-Encoders.
    """

    def terms(model: VAE, params: Params, batch: Batch, *, key: Key, **how: Any) -> ELBOTerms:
        found = terms_of(model, params, batch, key=key, **how)
        draws = prior_draws(model, params, batch, key)
        values = jax.vmap(lambda z: mmd(z, draws, batch.weight, KERNELS[kernel]))(found.z)
        return _with(found, MMD, jnp.full(len(batch.weight), jnp.mean(values)))

    return terms


def with_mutual_information(terms_of: Terms) -> Terms:
    """The same terms, with each sentence's part of `I_q(x; z)` among the auxiliary ones.

    The ELBO plus `w I` is InfoVAE with alpha = w, lambda = 1 and the KL as its divergence:
    `-log_likelihood + (1 - w) KL(q(z | x) || p(z)) + w KL(q(z) || p(z))`. Rezaabad and Vishwanath
    (2020) maximise the same by a learned critic, which has no ceiling at the log of the batch size.

    Args:
      terms_of: e.g. `jvae.elbo`.
    """

    def terms(model: VAE, params: Params, batch: Batch, *, key: Key, **how: Any) -> ELBOTerms:
        found = terms_of(model, params, batch, key=key, **how)
        values = jax.vmap(lambda z: mutual_information(found.posterior, z, batch.weight))(found.z)
        return _with(found, MUTUAL_INFORMATION, jnp.mean(values, axis=0))

    return terms


def _with(terms: ELBOTerms, name: str, values: Array) -> ELBOTerms:
    return dataclasses.replace(terms, auxiliary=terms.auxiliary | {name: values})


def aggregate_loss(loss: Loss, weights: Mapping[str, float]) -> Loss:
    """`loss + sum_name weights[name] * auxiliary[name]`, nats per sentence."""

    def total(terms: ELBOTerms, *rest: Any) -> Array:
        extra = sum(weight * terms.auxiliary[name] for name, weight in weights.items())
        return loss(terms, *rest) + extra

    return total
