"""Per-example terms of a whole split, in its order; products in full float32."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jvae.batch import Batch
from jvae.distributions import kl_divergence, sample_and_log_prob, surrogate_kl
from jvae.distributions.sets import VectorSet, widened
from jvae.evaluation.offers import Offers, offers_of
from jvae.layers.product import in_float32
from jvae.model import VAE
from jvae.objectives import importance_weights
from jvae.objectives.elbo import latent_keys
from jvae.random import Stream, example_keys, stream
from jvae.types import Array, Key, Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Encoded:
    """Results of the encoder; leading axis B, or N for a split.

    Attributes:
      kl: `[N, L]` per dimension, or `[N, 1]` where it does not factorise or is estimated.
      mean: `[N, L]`, see `moments`.
      log_var: `[N, L]`, see `moments`.
      z: `[N, L]`, the sample, or any other latent; None of a split where it is not kept.
      surrogate: by name, `[N]`, the KL terms that training takes in place of the KL, and those of
        the encoder's own latents; often none.
      metrics: by name, `[N]`, the number of vectors of sets, "vectors", and the metrics of the
        encoder's own latents; often none.
      offers: what the distributions offer; no array.
    """

    kl: Array
    mean: Array
    log_var: Array
    z: Any
    surrogate: dict[str, Array]
    metrics: dict[str, Array]
    offers: Offers = dataclasses.field(default=Offers(), metadata={"static": True}, kw_only=True)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PosteriorTerms(Encoded):
    """Results of one sample of z for each example.

    Attributes:
      rec: `[N]`, `-log p(x | z)`, nats per example.
    """

    rec: Array

    @property
    def kl_by_name(self) -> dict[str, float]:
        """Means over examples of the terms of the KL, nats, as "kl_..."."""
        return _means({f"kl_{name}": value for name, value in self.surrogate.items()})

    @property
    def mean_metrics(self) -> dict[str, float]:
        """Means over examples of the metrics."""
        return _means(self.metrics)


def _means(named: dict[str, Array]) -> dict[str, float]:
    return {name: float(np.mean(value, dtype=np.float64)) for name, value in named.items()}


def moments(q: Any) -> tuple[Array, Array]:
    """Returns a posterior's mean and log variance, `[B, L]`.

    Sets have their pooled mean, and `[B, 0]`.
    """
    mean = q.mean
    if isinstance(mean, VectorSet):
        return q.pooled, jnp.zeros((len(mean.vectors), 0))
    return mean, q.log_var


@in_float32
def encode(model: VAE, params: Params, batch: Batch, *, key: Key) -> Encoded:
    """Computes the posterior and one sample of it; no dropout."""
    context = model.context(params, batch.condition, key=key, train=False)
    inference = model.infer(params, batch, context, key=key, train=False)
    q, metrics = inference.posterior, inference.metrics
    z, log_q = sample_and_log_prob(q, latent_keys(key, batch))
    one = jax.tree.map(lambda draws: draws[None], (z, log_q))
    p, rows = model.prior.apply(params, context), batch.rows
    surrogate = (surrogate_kl(q, p) or {}) | inference.terms
    if isinstance(z, VectorSet):
        metrics = metrics | {"vectors": q.kept}
    kl = kl_divergence(q, p, *one)[0].reshape(rows, -1)
    nothing = jnp.zeros((rows, 0))  # of families without moments, as discrete ones are
    mean, log_var = moments(q) if hasattr(q, "mean") else (nothing, nothing)
    return Encoded(kl, mean, log_var, z, surrogate, metrics, offers=offers_of(q, p, z))


@in_float32
def observe(model: VAE, params: Params, batch: Batch, *, key: Key) -> Any:
    """Computes `Prior.observe` of a batch, without dropout."""
    assert model.prior.observe is not None
    context = model.context(params, batch.condition, key=key, train=False)
    q = model.infer(params, batch, context, key=key, train=False).posterior
    return model.prior.observe(q, batch.weight)


@in_float32
def reconstruction(model: VAE, params: Params, z: Any, batch: Batch, *, key: Key) -> Array:
    """Computes `-log p(x | z)` of given latents: `[B]`, nats per example."""
    decoder_key = stream(key, Stream.DECODER)
    context = model.context(params, batch.condition, key=key, train=False)
    arguments = params["decoder"], z, batch, context
    if model.decoder.joint is not None:
        return -model.decoder.joint(*arguments, key=decoder_key, train=False)[0]
    return -model.decoder.log_prob(*arguments, key=decoder_key, train=False)


@in_float32
def prior_samples(
    model: VAE, params: Params, index: Array, condition: Any = None, *, key: Key
) -> Any:
    """Draws a z from the prior for each example, about which it says nothing.

    Args:
      model: the VAE.
      params: its parameters.
      index: `[B]`, the examples' numbers, from which alone, and the key, their draws follow.
      condition: `Batch.condition` of the same examples.
      key: of all draws.
    """
    context = model.context(params, condition, key=key, train=False)
    prior = model.prior.apply(params, context)
    keys = example_keys(stream(key, Stream.PRIOR), index)
    if context is not None:
        return prior.sample(keys)
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
    """Computes `jvae.importance_weights` with examples first: `[B, K]`."""
    return importance_weights(
        model,
        params,
        batch,
        key=key,
        num_samples=num_samples,
        chunk_size=chunk_size,
        first_sample=first_sample,
    ).T


def samples_per_chunk(memory_bytes: int, batch_size: int, vocab_size: int, states: int = 0) -> int:
    """Returns how many samples of z a budget allows to decode at once, at least 1.

    The largest arrays of `importance_weights` are `[chunk, B, V]` float32: the logits, their
    exponentials, and one more that the compiler may keep. Or, before there are logits, the `states`
    floats that a decoder holds at once of an example and sample, where it reads all tokens at once.
    """
    return max(1, int(memory_bytes / (4 * batch_size * max(3 * vocab_size, states))))


def collect(terms: Callable[[Batch], Any], batches: Iterable[Batch], num_examples: int) -> Any:
    """Applies `terms` to every batch and puts each example's row at its number.

    Args:
      terms: batch -> a pytree of `[B, ..]` arrays.
      batches: a split's; rows of weight 0 are left out.
      num_examples: N.

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
        result = np.zeros((num_examples, *values[0].shape[1:]), values[0].dtype)
        for row, value in zip(rows, values, strict=True):
            result[row] = value
        return result

    return jax.tree.map(joined, *parts, is_leaf=lambda part: isinstance(part, VectorSet))


def other_examples(num_examples: int, *, seed: int) -> np.ndarray:
    """Makes a random permutation without fixed points (N > 1): whose z an example is given."""
    order = np.random.default_rng(seed).permutation(num_examples)
    partner = np.empty(num_examples, np.int64)
    partner[order] = np.roll(order, 1)  # one cycle through all examples: none keeps its own
    return partner
