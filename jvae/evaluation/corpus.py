"""Per-sentence terms of a whole split, in the corpus' order; products in full float32."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jvae.distributions import SURROGATE_KL, draw
from jvae.layers.product import in_float32
from jvae.objectives import importance_weights, kl_divergence
from jvae.objectives.elbo import latent_keys
from jvae.random import Stream, example_keys, stream
from jvae.sets import VectorSet, widened
from jvae.types import Array, Batch, Key, Params
from jvae.vae import VAE


class Encoded(NamedTuple):
    """What the encoder says; leading axis B, or N for a split.

    Attributes:
      kl: `[N, L]` per dimension, or `[N, 1]` where it does not factorise or is estimated.
      mean: `[N, L]`, of the posterior; of a set of vectors their weighted mean.
      log_var: `[N, L]`; `[N, 0]` of a set.
      z: `[N, L]`, the sample, or a set of vectors.
      centre: what stands for the posterior where nothing shall be random: the mean, or a set.
      surrogate: by name, `[N]`, what training takes in place of the KL, and adds to it; often
        nothing.
      figures: by name, `[N]`, what is told of sets, "vectors", and of the encoder's own latents;
        often nothing.
    """

    kl: Array
    mean: Array
    log_var: Array
    z: Any
    centre: Any
    surrogate: dict[str, Array]
    figures: dict[str, Array]


class PosteriorTerms(NamedTuple):
    """What one sample of z per sentence tells.

    Attributes:
      rec: `[N]`, `-log p(x | z)`, nats per sentence.
      kl, mean, log_var, z, centre, surrogate, figures: see `Encoded`.
    """

    rec: Array
    kl: Array
    mean: Array
    log_var: Array
    z: Any
    centre: Any
    surrogate: dict[str, Array]
    figures: dict[str, Array]

    @property
    def by_name(self) -> dict[str, float]:
        """Means over sentences of the terms of the KL, nats, as "kl_..", and of the figures."""
        named = {f"kl_{name}": value for name, value in self.surrogate.items()} | self.figures
        return {name: float(np.mean(value, dtype=np.float64)) for name, value in named.items()}


@in_float32
def encode(model: VAE, params: Params, batch: Batch, *, key: Key) -> Encoded:
    """The posterior and one sample of it; no dropout."""
    found = model.inference(params, batch, key=key, train=False)
    q = found.posterior
    z, log_q = draw(q, latent_keys(key, batch))
    one = jax.tree.map(lambda draws: draws[None], (z, log_q))
    p, rows = model.prior.distribution(params), batch.tokens.shape[0]
    surrogate = SURROGATE_KL.get((type(q), type(p)), lambda q, p: {})(q, p) | found.terms
    kl, centre = kl_divergence(q, p, *one)[0].reshape(rows, -1), q.mean
    if isinstance(centre, VectorSet):
        figures = found.figures | {"vectors": q.kept}
        return Encoded(kl, q.pooled, jnp.zeros((rows, 0)), z, centre, surrogate, figures)
    return Encoded(kl, centre, q.log_var, z, centre, surrogate, found.figures)


@in_float32
def reconstruction(model: VAE, params: Params, z: Any, batch: Batch, *, key: Key) -> Array:
    """`-log p(x | z)` for a given `z` `[B, L]`: `[B]`, nats per sentence."""
    decoder_key = stream(key, Stream.DECODER)
    return -model.decoder.log_prob(params["decoder"], z, batch, key=decoder_key, train=False)


@in_float32
def prior_samples(model: VAE, params: Params, num_sentences: int, *, key: Key) -> Any:
    """`[N, L]`, or sets: for each sentence a z from the prior, which says nothing about it."""
    prior = model.prior.distribution(params)
    keys = example_keys(stream(key, Stream.PRIOR), jnp.arange(num_sentences))
    of_one = jax.vmap(lambda k: prior.sample(k[None]))(keys)
    return jax.tree.map(lambda draws: draws[:, 0], of_one)


@in_float32
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
      The same pytree of `[N, ..]` NumPy arrays; sets are as wide as the widest.
    """
    parts, rows = [], []
    for batch in batches:
        real = np.asarray(batch.weight) > 0
        rows.append(np.asarray(batch.index)[real])
        parts.append(jax.tree.map(lambda leaf, real=real: np.asarray(leaf)[real], terms(batch)))

    def joined(*values: Any) -> Any:
        if isinstance(values[0], VectorSet):
            widest = max(value.vectors.shape[1] for value in values)
            return jax.tree.map(joined, *(widened(value, widest) for value in values))
        result = np.zeros((num_sentences, *values[0].shape[1:]), values[0].dtype)
        result[np.concatenate(rows)] = np.concatenate(values)
        return result

    return jax.tree.map(joined, *parts, is_leaf=lambda part: isinstance(part, VectorSet))


def other_sentences(num_sentences: int, *, seed: int) -> np.ndarray:
    """A random permutation without fixed points (N > 1): whose z a sentence is given."""
    order = np.random.default_rng(seed).permutation(num_sentences)
    partner = np.empty(num_sentences, np.int64)
    partner[order] = np.roll(order, 1)  # one cycle through all sentences: nobody keeps its own
    return partner
