"""Perplexity per document, which the literature on document models reports."""

import math
from typing import Any

import numpy as np

from jvae.evaluation.diagnostics import iw_nll
from jvae.evaluation.metric import Column, Key, Metric, Nouns, Row
from jvae.evaluation.metrics import VAE_METRICS


def _mean_rate(nll: Any, symbols: Any) -> float:
    """`exp(1/N sum_d nll_d / n_d)`."""
    rates = np.asarray(nll, np.float64) / np.asarray(symbols, np.float64)
    return float(math.exp(min(float(rates.mean()), 700.0)))


def _compute(evidence: Any) -> dict[str, Any]:
    terms, symbols = evidence.terms, evidence.split.split.symbols
    nll = terms.rec + terms.kl.sum(axis=1, dtype=np.float64)
    weighed = iw_nll(evidence.log_weights)
    return {
        "ppl_document_elbo": _mean_rate(nll, symbols),
        "ppl_document_iw": _mean_rate(weighed, symbols[: len(weighed)]),
    }


def _text(key: str) -> Any:
    def text(results: Any, nouns: Nouns) -> str:
        return f"{results[key]:.2f}"

    return text


DOCUMENT_PERPLEXITY = Metric(
    name="document perplexity",
    needs=frozenset({"density"}),
    compute=_compute,
    rows=(
        Row("ppl_document_iw", "PPL (IW)", _text("ppl_document_iw"), "mean over documents"),
        Row("ppl_document_elbo", "PPL (ELBO)", _text("ppl_document_elbo"), "mean over documents"),
    ),
    columns=(
        Column(
            "PPL/doc",
            lambda results: results.get("ppl_document_elbo"),
            1,
            "of the ELBO, the mean over documents of nats per word",
        ),
    ),
    keys=(
        Key(
            "ppl_document_elbo",
            "PPL (ELBO), per document",
            "`exp(1/N sum_d NLL_d / n_d)` of the ELBO; `ppl_document_iw` of IW-NLL. `ppl_elbo` and "
            "`ppl_iw` are of the corpus, `exp(sum_d NLL_d / sum_d n_d)`",
        ),
    ),
)

METRICS = (*VAE_METRICS, DOCUMENT_PERPLEXITY)


def unigram_perplexity(train: Any, split: Any, vocab_size: int) -> tuple[float, float]:
    """Computes the perplexity of the training split's word frequencies: corpus, per document.

    One is added to each count.

    Args:
      train: the training split.
      split: to be predicted.
      vocab_size: V.
    """
    numbers = np.ones(vocab_size)
    np.add.at(numbers, train.x.ids.ravel(), train.x.counts.ravel().astype(np.float64))
    log_share = np.log(numbers / numbers.sum())
    nll = -(split.x.counts * log_share[split.x.ids]).sum(axis=1, dtype=np.float64)
    return float(math.exp(nll.sum() / split.symbols.sum())), _mean_rate(nll, split.symbols)
