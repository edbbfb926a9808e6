"""All reported numbers of one split (their definitions: README, "What the numbers mean")."""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike

from jvae.batch import Batch
from jvae.distributions import closed_form_kl, has_density, is_empty, is_factorised_gaussian
from jvae.errors import UserError
from jvae.evaluation.corpus import PosteriorTerms, collect, other_sentences
from jvae.evaluation.diagnostics import (
    active_units,
    iw_nll,
    k_curve,
    mi_batch,
    mi_corpus,
    mmd_squared,
    perplexity,
    standard_error,
)
from jvae.evaluation.programs import Programs, SplitBatches
from jvae.evaluation.samples import K_CURVE, block_size, draw_until, remaining_change
from jvae.evaluation.verdict import Figures, verdict
from jvae.model import VAE
from jvae.random import Stream, stream
from jvae.types import Array, Key, Params


class EvaluationSettings(NamedTuple):
    """Attributes:
    batch_size: sentences at once.
    mi_batch_size: sentences whose aggregate posterior He's MI estimator compares with.
    iw_samples: K.
    iw_batch_size: sentences weighed at once; few, for a batch is filled up to so many and each row
        costs K samples.
    iw_sentences: importance weights for the first so many sentences; 0 for all.
    iw_chunk: samples decoded at once; a matter of memory only.
    iw_tolerance: fewer samples will do as soon as the rest would lower the mean IW-NLL by less,
        nats; 0 for all K.
    seed: of the partner whose z a sentence is given.
    """

    batch_size: int = 64
    mi_batch_size: int = 32
    iw_samples: int = 500
    iw_batch_size: int = 8
    iw_sentences: int = 0
    iw_chunk: int = 50
    iw_tolerance: float = 0.0
    seed: int = 0


class Families(NamedTuple):
    """What a model's distributions offer: it decides which numbers are defined.

    Attributes:
      point: the posterior is a point mass; only reconstructions are defined.
      empty: there is no latent.
      analytic_kl: the KL is in closed form; else it is estimated from one sample an example.
      has_mi: MI has an estimator, for diagonal Gaussians; that of a point counts as 0.
    """

    point: bool
    empty: bool
    analytic_kl: bool
    has_mi: bool


def families(model: VAE, params: Params, batch: Batch, key: Key) -> Families:
    """Asks a model's distributions, without computing anything."""
    offered: list[Families] = []

    def ask(params: Params, batch: Batch) -> None:
        context = model.context(params, batch.condition, key=key, train=False)
        q = model.infer(params, batch, context, key=key, train=False).posterior
        p = model.prior.apply(params, context)
        analytic = closed_form_kl(q, p) is not None
        has_mi = is_factorised_gaussian(q) or is_empty(q)
        offered.append(Families(not has_density(q), is_empty(q), analytic, has_mi))

    jax.eval_shape(ask, params, batch)
    return offered[0]


def training_figures(
    terms: PosteriorTerms, mi_batch_size: int, *, has_mi: bool = True
) -> dict[str, Any]:
    """The numbers of one epoch: nats per sentence, ELBO at full KL weight.

    Args:
      terms: of the validation split.
      mi_batch_size: see `EvaluationSettings`.
      has_mi: see `Families`; without, "mi" is absent.
    """
    kl = terms.kl.sum(axis=1, dtype=np.float64)
    figures: dict[str, Any] = {
        "elbo": float(-(terms.rec + kl).mean(dtype=np.float64)),
        "rec": float(terms.rec.mean(dtype=np.float64)),
        "kl": float(kl.mean()),
        "mi": 0.0,
        "au": 0,
    }
    figures |= _kl_per_dim(terms)
    if not has_mi:
        del figures["mi"]
    figures |= terms.by_name
    if "vectors" in terms.figures:  # a set has no units
        del figures["au"]
    elif terms.mean.shape[1] > 0:
        figures["au"] = active_units(terms.mean)[0]
    # A point mass has no entropy, and no latent has no information: no MI to estimate.
    if has_mi and terms.mean.shape[1] > 0 and np.isfinite(terms.log_var).all():
        figures["mi"] = mi_batch(terms.z, terms.mean, terms.log_var, batch_size=mi_batch_size).value
    return figures


def _kl_per_dim(terms: PosteriorTerms) -> dict[str, list[float]]:
    """Nothing where the KL does not factorise, as where it is estimated."""
    if terms.kl.shape[1] != terms.mean.shape[1]:
        return {}
    return {"kl_per_dim": terms.kl.mean(axis=0, dtype=np.float64).tolist()}


def _check_finite(name: str, values: ArrayLike) -> None:
    """Refuses what no figure can be drawn from.

    Raises:
      UserError: names it.
    """
    if not np.all(np.isfinite(values)):
        raise UserError(
            f"the {name} of the evaluated sentences became non-finite: lower "
            "training.learning_rate or training.clip_norm and train anew, in another --workdir"
        )


def evaluate(
    programs: Programs,
    params: Params,
    split: SplitBatches,
    *,
    key: Key,
    settings: EvaluationSettings,
) -> tuple[dict[str, Any], PosteriorTerms]:
    """Every number of the README's table for one split.

    Args:
      programs: of the VAE.
      params: its parameters.
      split: sentences.
      key: root of all noise; sentences draw by their number.
      settings: sizes.

    Returns:
      A JSON-ready dictionary, nats per sentence unless the README says otherwise, and the terms
      per sentence. Numbers that a model does not define (the KL of an autoencoder) are absent.

    Raises:
      UserError: rec, KL or IW-NLL is not finite.
    """
    symbols = split.split.symbols
    total, tokens = len(symbols), int(symbols.sum())
    key = stream(key, Stream.EVALUATION)
    model = programs.model
    terms = programs.posterior(params, split, total, key)
    family = families(model, params, next(iter(split)), key)
    latent_size = terms.mean.shape[1]
    _check_finite("rec", terms.rec)
    _check_finite("KL", terms.kl)
    results: dict[str, Any] = {
        "sentences": total,
        "tokens": tokens,
        "rec": float(terms.rec.mean(dtype=np.float64)),
        "rec_se": standard_error(terms.rec),
    }

    def of_prior(batch: Batch) -> Any:
        return programs.draw(params, batch.index, batch.condition, key=key)

    gap = np.zeros(total)
    if latent_size > 0:
        partners = other_sentences(total, seed=settings.seed)

        def others(batch: Batch) -> Any:
            return jax.tree.map(lambda leaf: leaf[partners[batch.index]], terms.z)

        shuffled = programs.reconstruction(params, others, split, total, key)
        gap = shuffled - terms.rec
        _check_finite("rec with the z of another sentence", gap)
        results |= {
            "shuffled_rec": float(shuffled.mean(dtype=np.float64)),
            "latent_size": latent_size,
        }
        results |= terms.by_name
        if "vectors" in results:  # of all sentences' tokens, `</s>` counted
            results["vectors_share"] = results["vectors"] * total / tokens
        else:
            count, variances = active_units(terms.mean)
            results |= {"au": count, "mean_variance_per_dim": variances.tolist()}
            if total > 1:
                prior_z = collect(of_prior, split, total)
                results["mmd"] = mmd_squared(terms.z, prior_z)._asdict()
    if family.point:
        return results, terms

    kl = terms.kl.sum(axis=1, dtype=np.float64)
    elbos = -(terms.rec + kl)
    results |= {
        "kl": float(kl.mean()),
        "kl_se": standard_error(kl),
        "kl_analytic": family.analytic_kl,
        "elbo": float(elbos.mean()),
        "elbo_se": standard_error(elbos),
        "ppl_elbo": perplexity(float(-elbos.sum()), tokens),
    }
    results |= _kl_per_dim(terms)
    results |= _importance(programs, params, split, key, settings, family.empty)
    if latent_size == 0:
        return results, terms

    # The draws of one batch at a time: a split's sets are large.
    from_prior = programs.reconstruction(params, of_prior, split, total, key)
    results["prior_rec"] = float(from_prior.mean(dtype=np.float64))
    if not family.has_mi:
        return results, terms  # and without it no verdict
    per_batch = mi_batch(terms.z, terms.mean, terms.log_var, batch_size=settings.mi_batch_size)
    per_corpus = mi_corpus(terms.z, terms.mean, terms.log_var)
    results |= {
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
    programs: Programs,
    params: Params,
    split: SplitBatches,
    key: Key,
    settings: EvaluationSettings,
    empty: bool,
) -> dict[str, Any]:
    """IW-NLL(K), its curve over K, and the perplexity, over the first sentences of the split."""
    count = min(settings.iw_sentences or len(split.split), len(split.split))
    some = split.split.first(count)
    # Without a latent one sample is exact.
    num_samples = 1 if empty else settings.iw_samples
    few = dataclasses.replace(split, split=some, batch_size=settings.iw_batch_size)
    block = block_size(num_samples, settings.iw_tolerance)
    weigh = programs.importance(block, settings.iw_chunk)

    def draw(first: int) -> np.ndarray:
        def terms(batch: Batch) -> Array:
            return weigh(params, programs.place(batch), np.int32(first), key=key)

        return collect(terms, few, count).T

    weights = draw_until(draw, num_samples, settings.iw_tolerance)
    drawn, left = len(weights), {}
    if drawn < num_samples:
        change = remaining_change(weights, num_samples)
        left = {"iw_remaining": {"samples": num_samples, **change._asdict()}}
    nll = iw_nll(weights)
    _check_finite("IW-NLL", nll)
    ks = [k for k in K_CURVE if k < drawn] + [drawn]
    curve = k_curve(weights, ks)
    return {
        "iw_nll": float(nll.mean()),
        "iw_nll_se": standard_error(nll),
        "iw_nll_each": [round(float(value), 5) for value in nll],
        "iw_samples": drawn,
        "iw_sentences": count,
        "ppl_iw": perplexity(float(nll.sum()), float(some.symbols.sum())),
        "k_curve": {
            "k": list(curve.k),
            "nll": [float(value) for value in curve.nll],
            "se": [float(value) for value in curve.standard_error],
        },
        **left,
    }
