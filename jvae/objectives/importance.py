"""Importance-weighted estimates of `log p(x)`."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jvae.batch import Batch
from jvae.distributions import sample_and_log_prob
from jvae.model import VAE
from jvae.objectives.elbo import check_count, latent_keys
from jvae.random import Stream, sample_keys, stream
from jvae.types import Array, Key, Params


def importance_weights(
    model: VAE,
    params: Params,
    batch: Batch,
    *,
    key: Key,
    num_samples: int,
    chunk_size: int,
    first_sample: int | Array = 0,
) -> Array:
    """`log w_k = log p(x | z_k) + log p(z_k) - log q(z_k | x)`, `z_k ~ q(z | x)`.

    The encoder runs once. Samples are mapped with `vmap`, `chunk_size` at a time, so that all that
    does not depend on z (the projections of the inputs) is shared between them, and no more than
    `[chunk_size, B, ..]` outputs exist at once. Sample k of an example draws from its own key:
    chunking and batching change no sample.

    Args:
      model: the VAE.
      params: its parameters.
      batch: B examples.
      key: see `jvae.elbo`.
      num_samples: K.
      chunk_size: samples decoded at once, at most.
      first_sample: the number of the first one: a later call goes on where an earlier one ended.

    Returns:
      `[K, B]`, nats.

    Raises:
      TypeError: the posterior has no density (an autoencoder).
    """
    check_count("num_samples", num_samples)
    check_count("chunk_size", chunk_size)
    context = model.context(params, batch.condition, key=key, train=False)
    q = model.infer(params, batch, context, key=key, train=False).posterior
    p = model.prior.apply(params, context)
    keys = latent_keys(key, batch)

    def likelihood(z: Any, sample: Array) -> Array:
        arguments = params["decoder"], z, batch, context
        if model.decoder.joint is None:
            decoder_key = stream(key, Stream.DECODER)
            return model.decoder.log_prob(*arguments, key=decoder_key, train=False)
        # Each sample has noise of its own: samples that share it never average over it.
        own_key = stream(key, Stream.DECODER, sample)
        log_likelihood, _, log_ratio = model.decoder.joint(*arguments, key=own_key, train=False)
        return log_likelihood + log_ratio

    def log_weight(sample_key: Key, sample: Array) -> Array:
        z, log_q = sample_and_log_prob(q, sample_key)
        log_q = q.log_prob(z) if log_q is None else log_q
        return likelihood(z, sample) + p.log_prob(z) - log_q

    chunks = math.ceil(num_samples / chunk_size)
    chunk_size = math.ceil(num_samples / chunks)  # of one size, so that the last is no waste

    def chunk(first: Array) -> Array:
        samples = first + jnp.arange(chunk_size)
        return jax.vmap(log_weight)(sample_keys(keys, samples), samples)

    firsts = first_sample + chunk_size * jnp.arange(chunks)
    log_weights = jax.lax.map(chunk, firsts)
    return log_weights.reshape(-1, batch.rows)[:num_samples]


def iw_log_likelihood(
    model: VAE,
    params: Params,
    batch: Batch,
    *,
    key: Key,
    num_samples: int,
    chunk_size: int,
) -> tuple[Array, Array]:
    """`log (1/K) sum_k w_k`: a lower bound on `log p(x)` that tightens as K grows.

    Args:
      model: the VAE.
      params: its parameters.
      batch: B examples.
      key: see `jvae.elbo`.
      num_samples: K. 500 is the field's custom.
      chunk_size: samples decoded at once; a matter of memory only.

    Returns:
      The bound, `[B]`, and its log weights, `[K, B]`, nats per example.

    Raises:
      TypeError: the posterior has no density (an autoencoder).

    References:
      Burda et al. (2016), Importance Weighted Autoencoders, equation 8.
    """
    log_weights = importance_weights(
        model, params, batch, key=key, num_samples=num_samples, chunk_size=chunk_size
    )
    bound = jax.nn.logsumexp(log_weights, axis=0) - math.log(num_samples)
    return bound, log_weights
