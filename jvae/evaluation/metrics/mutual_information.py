"""Mutual information of example and latent, by two estimators that must not be compared."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jvae.evaluation.diagnostics import MutualInformation, mi_batch
from jvae.evaluation.evidence import Evidence
from jvae.evaluation.metric import Column, Key, Metric, Row, Text, entry, plus_minus


def compute(evidence: Evidence) -> dict[str, Any]:
    """Computes both estimates."""
    return {
        "mi_batch": _per_batch(evidence)._asdict(),
        "mi_corpus": evidence.mi_corpus._asdict(),
    }


def validate(evidence: Evidence) -> dict[str, Any]:
    """Computes the estimate over batches; it is 0 without a latent, and counts as 0 of points."""
    offers = evidence.offers
    if offers.latent and not offers.diagonal:
        return {}
    # A point mass has no entropy, and no latent has no information: no MI to estimate.
    if not offers.latent or not np.isfinite(evidence.terms.log_var).all():
        return {"mi": 0.0}
    return {"mi": _per_batch(evidence).value}


def progress(record: Mapping[str, Any]) -> str:
    """Writes the estimate, where there is one."""
    return f"mi {record['mi']:.2f}" if "mi" in record else ""


def _per_batch(evidence: Evidence) -> MutualInformation:
    terms, size = evidence.terms, evidence.settings.mi_batch_size
    return mi_batch(terms.z, terms.mean, terms.log_var, batch_size=size)


def _text(key: str) -> Text:
    return lambda results, nouns: plus_minus(results[key]["value"], results[key]["standard_error"])


def _ceiling(key: str) -> Text:
    return lambda results, nouns: f"nats, at most {results[key]['ceiling']:.2f}"


def _keys(name: str) -> str:
    return ", ".join(f"{name}.{part}" for part in ("value", "standard_error", "ceiling"))


MUTUAL_INFORMATION = Metric(
    name="mutual information",
    needs=frozenset({"density", "diagonal"}),
    compute=compute,
    rows=(
        Row("mi_batch", "MI (batch)", _text("mi_batch"), _ceiling("mi_batch")),
        Row("mi_corpus", "MI (corpus)", _text("mi_corpus"), _ceiling("mi_corpus")),
    ),
    columns=(
        Column("MI", entry("mi_corpus", "value"), 2, "close to KL: what z tells {row}s apart by"),
    ),
    keys=(
        Key(
            _keys("mi_batch"),
            "MI (batch)",
            "`I_q(x; z)` within groups of `evaluation.mi_batch_size` examples, at most the log of "
            "that number; it may fall below 0 near collapse (He et al. 2019)",
        ),
        Key(
            _keys("mi_corpus"),
            "MI (corpus)",
            "`I_q(x; z)` within the whole split, at most log N (Li et al. 2019); never compare the "
            "two",
        ),
    ),
    validation=validate,
    progress=progress,
)
