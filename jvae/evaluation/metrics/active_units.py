"""Active units: the dimensions in which posteriors differ."""

from collections.abc import Mapping
from typing import Any

from jvae.evaluation.evidence import Evidence
from jvae.evaluation.metric import Column, Key, Metric, Row, entry


def compute(evidence: Evidence) -> dict[str, Any]:
    """Counts the active units."""
    count, variances = evidence.active
    return {"au": count, "mean_variance_per_dim": variances.tolist()}


def validate(evidence: Evidence) -> dict[str, Any]:
    """Counts the active units, 0 without a latent; latents of other kinds have no units."""
    if evidence.offers.one_vector:
        return {"au": evidence.active[0]}
    return {} if evidence.offers.latent else {"au": 0}


def progress(record: Mapping[str, Any]) -> str:
    """Writes their number, where there is one."""
    return f"au {record['au']}" if "au" in record else ""


ACTIVE_UNITS = Metric(
    name="active units",
    needs=frozenset({"one_vector"}),
    compute=compute,
    rows=(
        Row(
            "au",
            "AU",
            lambda results, nouns: f"{results['au']} of {results['latent_size']}",
            "units whose mean varies by > 0.01",
        ),
    ),
    columns=(Column("AU", entry("au"), 1, "many of the latent's dimensions"),),
    keys=(
        Key(
            "au",
            "AU",
            "active units: dimensions whose posterior mean has a variance above 0.01 over the "
            "evaluated examples (Burda et al. 2016)",
        ),
        Key("mean_variance_per_dim", "AU", "that variance, of each dimension"),
    ),
    validation=validate,
    progress=progress,
)
