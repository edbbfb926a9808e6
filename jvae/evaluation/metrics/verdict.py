"""Is the latent used? The verdict of `jvae.evaluation.verdict`, on the metrics of a split."""

from typing import Any

from jvae.evaluation.diagnostics import standard_error
from jvae.evaluation.evidence import Evidence
from jvae.evaluation.metric import Key, Metric
from jvae.evaluation.verdict import Measures, verdict


def compute(evidence: Evidence) -> dict[str, Any]:
    """Judges the latent; a single example has no error bars, hence no verdict."""
    if evidence.num_examples == 1:
        return {}
    gap = evidence.shuffled_rec - evidence.terms.rec
    judged = verdict(
        Measures(
            kl=float(evidence.kl.mean()),
            mi=evidence.mi_corpus.value,
            active_units=evidence.active[0],
            latent_size=evidence.latent_size,
            examples=evidence.num_examples,
            shuffled_gap=float(gap.mean()),
            shuffled_gap_error=standard_error(gap),
        ),
        evidence.nouns.row,
    )
    return {"verdict": {"label": judged.label, "text": str(judged), "hint": judged.hint}}


VERDICT = Metric(
    name="verdict",
    needs=frozenset({"density", "one_vector", "diagonal"}),
    compute=compute,
    keys=(
        Key(
            "verdict.label, verdict.text, verdict.hint",
            "verdict",
            "collapsed, partly used or used, from KL, MI (corpus), AU and the cost of a shuffled "
            "z, and what to try; the thresholds are in `jvae/evaluation/verdict.py`",
        ),
    ),
)
