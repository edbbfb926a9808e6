"""All reported numbers of one split (their definitions: README, "What the numbers mean")."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jvae.data.batching import batches, corpus_plan
from jvae.data.encoding import Split
from jvae.distributions import Delta
from jvae.evaluation.corpus import (
    PosteriorTerms,
    collect,
    log_weights,
    other_sentences,
    posterior_terms,
    prior_reconstruction,
    reconstruction,
    samples_per_chunk,
)
from jvae.evaluation.diagnostics import (
    active_units,
    iw_nll,
    k_curve,
    mi_batch,
    mi_corpus,
    perplexity,
    standard_error,
)
from jvae.evaluation.verdict import Figures, verdict
from jvae.random import Stream, stream
from jvae.types import Batch, Key, Params
from jvae.vae import VAE

K_CURVE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class EvaluationSettings(NamedTuple):
    """Attributes:
    batch_size: sentences at once.
    mi_batch_size: sentences whose aggregate posterior He's MI estimator compares with.
    iw_samples: K.
    iw_sentences: importance weights for the first so many sentences; 0 for all.
    memory_bytes: for the arrays that the K samples need at once.
    seed: of the partner whose z a sentence is given.
    """

    batch_size: int = 64
    mi_batch_size: int = 32
    iw_samples: int = 500
    iw_sentences: int = 0
    memory_bytes: int = 512 * 2**20
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class SplitBatches:
    """A split, cut into batches again and again in the same order."""

    split: Split
    widths: tuple[int, ...]
    batch_size: int
    num_devices: int
    place: Callable[[Batch], Batch]

    def __iter__(self) -> Iterator[Batch]:
        """The batches, on the devices."""
        plan = corpus_plan(
            self.split.lengths, self.widths, self.batch_size, num_devices=self.num_devices
        )
        return map(self.place, batches(self.split.tokens, self.split.lengths, self.widths, plan))


def collect_posterior(
    model: VAE, compile: Callable[..., Any] = jax.jit
) -> Callable[[Params, Iterable[Batch], int, Key], PosteriorTerms]:
    """Compiles `posterior_terms` once; the result runs it over a split."""
    compiled = compile(partial(posterior_terms, model))

    def run(params: Params, split: Iterable[Batch], num_sentences: int, key: Key) -> PosteriorTerms:
        return collect(lambda batch: compiled(params, batch, key=key), split, num_sentences)

    return run


def is_point(model: VAE, params: Params, batch: Batch, key: Key) -> bool:
    """Whether the posterior is a point mass: then only reconstructions are defined."""
    q = jax.eval_shape(partial(model.encoder.apply, key=key, train=False), params["encoder"], batch)
    return isinstance(q, Delta)


def training_figures(terms: PosteriorTerms, mi_batch_size: int) -> dict[str, Any]:
    """The numbers of one epoch: nats per sentence, ELBO at full KL weight.

    Args:
      terms: of the validation split.
      mi_batch_size: see `EvaluationSettings`.
    """
    kl = terms.kl.sum(axis=1, dtype=np.float64)
    figures = {
        "elbo": float(-(terms.rec + kl).mean(dtype=np.float64)),
        "rec": float(terms.rec.mean(dtype=np.float64)),
        "kl": float(kl.mean()),
        "mi": 0.0,
        "au": 0,
    }
    if terms.mean.shape[1] > 0:
        figures["au"] = active_units(terms.mean)[0]
    # A point mass has no entropy, and no latent has no information: no MI to estimate.
    if terms.mean.shape[1] > 0 and np.isfinite(terms.log_var).all():
        figures["mi"] = mi_batch(terms.z, terms.mean, terms.log_var, batch_size=mi_batch_size).value
    return figures


def evaluate(
    model: VAE,
    params: Params,
    split: SplitBatches,
    *,
    key: Key,
    vocab_size: int,
    settings: EvaluationSettings,
    compile: Callable[..., Any] = jax.jit,
) -> tuple[dict[str, Any], PosteriorTerms]:
    """Every number of the README's table for one split.

    Args:
      model: the VAE.
      params: its parameters.
      split: sentences.
      key: root of all noise; sentences draw by their number.
      vocab_size: V, for the memory of the importance samples.
      settings: sizes.
      compile: what makes a function fast.

    Returns:
      A JSON-ready dictionary, nats per sentence unless the README says otherwise, and the terms
      per sentence. Numbers that a model does not define (the KL of an autoencoder) are absent.
    """
    lengths = split.split.lengths
    total, tokens = len(lengths), int(lengths.sum())
    key = stream(key, Stream.EVALUATION)
    terms = collect_posterior(model, compile)(params, split, total, key)
    point = is_point(model, params, next(iter(split)), key)
    latent_size = terms.mean.shape[1]
    results: dict[str, Any] = {
        "sentences": total,
        "tokens": tokens,
        "rec": float(terms.rec.mean(dtype=np.float64)),
        "rec_se": standard_error(terms.rec),
    }

    gap = np.zeros(total)
    if latent_size > 0:
        decode = compile(partial(reconstruction, model))
        partners = jnp.asarray(terms.z[other_sentences(total, seed=settings.seed)])
        shuffled = collect(
            lambda batch: decode(params, partners[batch.index], batch, key=key), split, total
        )
        count, variances = active_units(terms.mean)
        gap = shuffled - terms.rec
        results |= {
            "shuffled_rec": float(shuffled.mean(dtype=np.float64)),
            "au": count,
            "latent_size": latent_size,
            "mean_variance_per_dim": variances.tolist(),
        }
    if point:
        return results, terms

    kl = terms.kl.sum(axis=1, dtype=np.float64)
    elbos = -(terms.rec + kl)
    results |= {
        "kl": float(kl.mean()),
        "kl_se": standard_error(kl),
        "kl_per_dim": terms.kl.mean(axis=0, dtype=np.float64).tolist(),
        "elbo": float(elbos.mean()),
        "elbo_se": standard_error(elbos),
        "ppl_elbo": perplexity(float(-elbos.sum()), tokens),
    }
    results |= _importance(model, params, split, key, vocab_size, settings, compile)
    if latent_size == 0:
        return results, terms

    prior = compile(partial(prior_reconstruction, model))
    from_prior = collect(lambda batch: prior(params, batch, key=key), split, total)
    per_batch = mi_batch(terms.z, terms.mean, terms.log_var, batch_size=settings.mi_batch_size)
    per_corpus = mi_corpus(terms.z, terms.mean, terms.log_var)
    results |= {
        "prior_rec": float(from_prior.mean(dtype=np.float64)),
        "mi_batch": per_batch._asdict(),
        "mi_corpus": per_corpus._asdict(),
    }
    if total == 1:
        return results, terms  # one sentence has no error bars, hence no verdict
    judged = verdict(
        Figures(
            kl=results["kl"],
            mi=per_corpus.value,
            active_units=results["au"],
            latent_size=latent_size,
            sentences=total,
            shuffled_gap=float(gap.mean()),
            shuffled_gap_error=standard_error(gap),
        )
    )
    results["verdict"] = {"label": judged.label, "text": str(judged), "hint": judged.hint}
    return results, terms


def _importance(
    model: VAE,
    params: Params,
    split: SplitBatches,
    key: Key,
    vocab_size: int,
    settings: EvaluationSettings,
    compile: Callable[..., Any],
) -> dict[str, Any]:
    """IW-NLL(K), its curve over K, and the perplexity, over the first sentences of the split."""
    count = min(settings.iw_sentences or len(split.split.lengths), len(split.split.lengths))
    some = Split(split.split.tokens[:count], split.split.lengths[:count])
    # Without a latent one sample is exact.
    num_samples = settings.iw_samples if model.latent_size > 0 else 1
    chunk_size = samples_per_chunk(settings.memory_bytes, split.batch_size, vocab_size)
    weigh = compile(partial(log_weights, model, num_samples=num_samples, chunk_size=chunk_size))
    weights = collect(
        lambda batch: weigh(params, batch, key=key), dataclasses.replace(split, split=some), count
    ).T
    nll = iw_nll(weights)
    ks = [k for k in K_CURVE if k < num_samples] + [num_samples]
    curve = k_curve(weights, ks)
    return {
        "iw_nll": float(nll.mean()),
        "iw_nll_se": standard_error(nll),
        "iw_samples": num_samples,
        "iw_sentences": count,
        "ppl_iw": perplexity(float(nll.sum()), float(some.lengths.sum())),
        "k_curve": {
            "k": list(curve.k),
            "nll": [float(value) for value in curve.nll],
            "se": [float(value) for value in curve.standard_error],
        },
    }
