"""Importance-weighted NLL, its perplexity, and how it falls with the number of samples."""

from typing import Any

from jvae.evaluation.diagnostics import iw_nll, k_curve, perplexity, standard_error
from jvae.evaluation.evidence import Evidence
from jvae.evaluation.metric import (
    Column,
    Key,
    Metric,
    Nouns,
    Results,
    Row,
    entry,
    plus_minus,
    with_error,
)
from jvae.evaluation.metrics.likelihood import per_symbol, perplexity_text
from jvae.evaluation.samples import K_CURVE, remaining_change


def compute(evidence: Evidence) -> dict[str, Any]:
    """Computes IW-NLL(K) of the first examples, its curve over K, and its perplexity."""
    weights, most = evidence.log_weights, evidence.most_samples
    drawn, left = len(weights), {}
    if drawn < most:
        left = {"iw_remaining": {"samples": most, **remaining_change(weights, most)._asdict()}}
    nll = iw_nll(weights)
    evidence.check_finite("IW-NLL", nll)
    curve = k_curve(weights, [k for k in K_CURVE if k < drawn] + [drawn])
    symbols = float(evidence.weighed.split.symbols.sum())
    return {
        "iw_nll": float(nll.mean()),
        "iw_nll_se": standard_error(nll),
        "iw_nll_each": [round(float(value), 5) for value in nll],
        "iw_samples": drawn,
        "iw_examples": len(nll),
        "ppl_iw": perplexity(float(nll.sum()), symbols),
        "k_curve": {
            "k": list(curve.k),
            "nll": [float(value) for value in curve.nll],
            "se": [float(value) for value in curve.standard_error],
        },
        **left,
    }


def _of_some(results: Results) -> bool:
    return bool(results.get("iw_examples", 0) != results["examples"])


def _label(results: Results, nouns: Nouns) -> str:
    return f"IW-NLL({results.get('iw_samples', 0)})"


def _note(results: Results, nouns: Nouns) -> str:
    some = f", first {results.get('iw_examples', 0)} {nouns.row}s" if _of_some(results) else ""
    return f"nats per {nouns.row}{some}"


def _elbo_of_these(results: Results, nouns: Nouns) -> str:
    # IW-NLL is to be compared with this: the ELBO of the table is of all examples.
    curve = results["k_curve"]
    if _of_some(results) and curve["k"] and curve["k"][0] == 1 < results.get("iw_samples", 0):
        return plus_minus(curve["nll"][0], curve["se"][0])
    return ""


def _remaining(results: Results, nouns: Nouns) -> str:
    return plus_minus(-results["iw_remaining"]["nll"], results["iw_remaining"]["error"])


def _remaining_note(results: Results, nouns: Nouns) -> str:
    return f"what going on to {results['iw_remaining']['samples']} samples would add"


IMPORTANCE = Metric(
    name="importance-weighted NLL",
    needs=frozenset({"density"}),
    compute=compute,
    rows=(
        Row("iw_nll", _label, with_error("iw_nll"), _note),
        Row("k_curve", "  -ELBO of these", _elbo_of_these, "K = 1, the same {row}s"),
        Row("iw_remaining", "  the rest", _remaining, _remaining_note),
        Row("ppl_iw", "PPL (IW)", perplexity_text("ppl_iw"), per_symbol),
    ),
    columns=(
        Column(
            "IW-NLL",
            entry("iw_nll"),
            2,
            "nats per {row}; at or below its {floor}'s",
            entry("iw_nll_se"),
        ),
        Column(
            "over LM",
            entry("over_floor", "value"),
            2,
            "IW-NLL over its {floor}'s, {row} by {row}; at or below 0",
            entry("over_floor", "se"),
        ),
        Column("PPL", entry("ppl_iw"), 1, "of IW-NLL, per predicted {symbol}"),
    ),
    keys=(
        Key(
            "iw_nll, iw_nll_se",
            "IW-NLL(K)",
            "`-log 1/K sum_k p(x, z_k) / q(z_k given x)`, K draws from q, and its standard error "
            "over examples (Burda et al. 2016)",
        ),
        Key("iw_nll_each", "IW-NLL(K)", "the same of each example"),
        Key("iw_samples, iw_examples", "K", "samples of each example, and how many examples"),
        Key(
            "ppl_iw",
            "PPL (IW)",
            "perplexity, `exp(total NLL / total symbols)`, of IW-NLL and its examples",
        ),
        Key(
            "k_curve.k, k_curve.nll, k_curve.se",
            "-ELBO of these",
            "IW-NLL at fewer samples, of the same examples; at K = 1 it is minus their ELBO, which "
            "the table shows where they are not all",
        ),
        Key(
            "iw_remaining.nll, iw_remaining.error, iw_remaining.samples",
            "the rest",
            "with `evaluation.iw_tolerance` alone: by how much the samples that were not drawn "
            "would lower IW-NLL",
        ),
    ),
)
