"""Per-sentence terms of a whole split, in the corpus' order."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jvae.distributions import draw
from jvae.objectives import importance_weights, kl_divergence
from jvae.objectives.elbo import latent_keys
from jvae.random import Stream, example_keys, stream
from jvae.types import Array, Batch, Key, Params
from jvae.vae import VAE


class Encoded(NamedTuple):
    """What the encoder says; leading axis B, or N for a split.

    Attributes:
      kl: `[N, L]` per dimension, or `[N, 1]` where it does not factorise or is estimated.
      mean: `[N, L]`, of the posterior.
      log_var: `[N, L]`.
      z: `[N, L]`, the sample.
    """

    kl: Array
    mean: Array
    log_var: Array
    z: Array


class PosteriorTerms(NamedTuple):
    """What one sample of z per sentence tells.

    Attributes:
      rec: `[N]`, `-log p(x | z)`, nats per sentence.
      kl, mean, log_var, z: see `Encoded`.
    """

    rec: Array
    kl: Array
    mean: Array
    log_var: Array
    z: Array


def encode(model: VAE, params: Params, batch: Batch, *, key: Key) -> Encoded:
    """The posterior and one sample of it; no dropout."""
    q = model.infer(params, batch, key=key, train=False)
    z, log_q = draw(q, latent_keys(key, batch))
    one = jax.tree.map(lambda draws: draws[None], (z, log_q))
    kl, _ = kl_divergence(q, model.prior.distribution(params), *one)
    return Encoded(kl.reshape(z.shape[0], -1), q.mean, q.log_var, z)


def reconstruction(model: VAE, params: Params, z: Array, batch: Batch, *, key: Key) -> Array:
    """`-log p(x | z)` for a given `z` `[B, L]`: `[B]`, nats per sentence."""
    decoder_key = stream(key, Stream.DECODER)
    return -model.decoder.log_prob(params["decoder"], z, batch, key=decoder_key, train=False)


def prior_samples(model: VAE, params: Params, num_sentences: int, *, key: Key) -> Array:
    """`[N, L]`: for each sentence a z from the prior, which says nothing about it."""
    prior = model.prior.distribution(params)
    keys = example_keys(stream(key, Stream.PRIOR), jnp.arange(num_sentences))
    return jax.vmap(lambda k: prior.sample(k[None])[0])(keys)


def log_weights(
    model: VAE,
    params: Params,
    batch: Batch,
    first_sample: int | Array = 0,
    *,
    key: Key,
    num_samples: int,
    chunk_size: int,
) -> Array:
    """`jvae.importance_weights` with sentences first: `[B, K]`."""
    return importance_weights(
        model,
        params,
        batch,
        key=key,
        num_samples=num_samples,
        chunk_size=chunk_size,
        first_sample=first_sample,
    ).T


def samples_per_chunk(memory_bytes: int, batch_size: int, vocab_size: int) -> int:
    """How many samples of z a budget allows to decode at once, at least 1.

    The largest arrays of `importance_weights` are `[chunk, B, V]` float32: the logits, their
    exponentials, and one more that the compiler may keep.
    """
    return max(1, int(memory_bytes / (3 * 4 * batch_size * vocab_size)))


def collect(terms: Callable[[Batch], Any], batches: Iterable[Batch], num_sentences: int) -> Any:
    """Applies `terms` to every batch and puts each sentence's row at its own number.

    Args:
      terms: batch -> a pytree of `[B, ..]` arrays.
      batches: a split's; rows of weight 0 are left out.
      num_sentences: N.

    Returns:
      The same pytree of `[N, ..]` NumPy arrays.
    """
    result: Any = None
    for batch in batches:
        real = np.asarray(batch.weight) > 0
        rows = np.asarray(batch.index)[real]
        values = jax.tree.map(lambda leaf, real=real: np.asarray(leaf)[real], terms(batch))
        if result is None:
            result = jax.tree.map(
                lambda leaf: np.zeros((num_sentences, *leaf.shape[1:]), leaf.dtype), values
            )
        for target, value in zip(jax.tree.leaves(result), jax.tree.leaves(values), strict=True):
            target[rows] = value
    return result


def other_sentences(num_sentences: int, *, seed: int) -> np.ndarray:
    """A random permutation without fixed points (N > 1): whose z a sentence is given."""
    order = np.random.default_rng(seed).permutation(num_sentences)
    partner = np.empty(num_sentences, np.int64)
    partner[order] = np.roll(order, 1)  # one cycle through all sentences: nobody keeps its own
    return partner
