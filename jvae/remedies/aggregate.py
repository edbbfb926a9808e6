"""Terms of the aggregate posterior `q(z) = mean_b q(z | x_b)` of a batch.

The KL of the ELBO punishes two things at once: `KL(q(z | x) || p(z)) = I(x; z) + KL(q(z) || p(z))`
on average (Hoffman and Johnson, 2016). What is said about x is what is wanted, so that these terms
ask for the other part alone. They look at all examples of a batch at once: a batch in parts is
another term.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jvae.batch import Batch
from jvae.model import VAE
from jvae.objectives import Objective, Outcome, add_losses
from jvae.random import Stream, example_keys, stream
from jvae.types import Array, Key, Params

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


def mutual_information(q: Any, z: Array, weight: Array) -> Array:
    """`log q(z_b | x_b) - log mean_c q(z_b | x_c)`, `[B]`: their mean estimates `I_q(x; z)`, nats.

    At most the log of the number of examples, for each of them. It is the difference of one-sample
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
    """Draws a z from the prior for each example, by its number: `[B, L]`."""
    keys = example_keys(stream(key, Stream.AGGREGATE), batch.index)
    context = model.context(params, batch.condition, key=key, train=True)
    return model.prior.apply(params, context).sample(keys)


def with_mmd(objective: Objective, model: VAE, weight: float, kernel: str = "rbf") -> Objective:
    """Adds `weight * MMD(q(z), p(z))` of the batch to every example's loss.

    `-ELBO` with the KL at weight `1 - alpha` and this at `alpha + lambda - 1` is InfoVAE: at alpha
    = 1 nothing but the aggregate posterior is held to the prior, at alpha = 0, lambda = 1 it is the
    ELBO.

    Args:
      objective: of a bound.
      model: the VAE, whose prior is compared with.
      weight: of the MMD.
      kernel: a key of `KERNELS`.

    References:
      Zhao et al. (2019), InfoVAE: Balancing Learning and Inference in Variational Autoencoders,
      equation 6; with a point posterior it is Tolstikhin et al. (2018), Wasserstein Auto-Encoders.
    """

    def extra(params: Params, batch: Batch, outcome: Outcome, key: Key) -> Array:
        draws = prior_draws(model, params, batch, key)
        of_sample = jax.vmap(lambda z: mmd(z, draws, batch.weight, KERNELS[kernel]))
        return jnp.full(batch.rows, weight * jnp.mean(of_sample(outcome.terms.z)))

    return add_losses(objective, extra)


def with_mutual_information(objective: Objective, weight: float) -> Objective:
    """Subtracts `weight * I_q(x; z)` of the batch, each example's part from its own loss.

    The ELBO plus `w I` is InfoVAE with alpha = w, lambda = 1 and the KL as its divergence:
    `-log_likelihood + (1 - w) KL(q(z | x) || p(z)) + w KL(q(z) || p(z))`. Rezaabad and Vishwanath
    (2020) maximise the same by a learned critic, which has no ceiling at the log of the batch size.

    Args:
      objective: of a bound.
      weight: w.
    """

    def extra(params: Params, batch: Batch, outcome: Outcome, key: Key) -> Array:
        q = outcome.terms.posterior
        of_sample = jax.vmap(lambda z: mutual_information(q, z, batch.weight))
        return -weight * jnp.mean(of_sample(outcome.terms.z), axis=0)

    return add_losses(objective, extra)
