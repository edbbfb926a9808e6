"""Reconstruction with a z that is not the example's."""

from typing import Any

import numpy as np

from jvae.evaluation.evidence import Evidence
from jvae.evaluation.metric import Key, Metric, Row, fixed


def compute(evidence: Evidence) -> dict[str, Any]:
    """Computes the reconstruction with the z of another example, and with one from the prior."""
    shuffled = evidence.shuffled_rec
    evidence.check_finite(f"rec with the z of another {evidence.nouns.row}", shuffled)
    results: dict[str, Any] = {"shuffled_rec": float(shuffled.mean(dtype=np.float64))}
    if evidence.latent_size:
        results |= {"latent_size": evidence.latent_size}
    if evidence.offers.density:
        results |= {"prior_rec": float(evidence.prior_rec.mean(dtype=np.float64))}
    return results


LATENT_USE = Metric(
    name="use of the latent",
    needs=frozenset({"latent"}),
    compute=compute,
    rows=(
        Row("shuffled_rec", "rec, shuffled z", fixed("shuffled_rec"), "z of another {row}"),
        Row("prior_rec", "rec, prior z", fixed("prior_rec"), "z from the prior"),
    ),
    keys=(
        Key("latent_size", "L", "dimensions of z, or of each vector of a set"),
        Key(
            "shuffled_rec",
            "rec, shuffled z",
            "rec with the z of another example: what it is above rec is what z is worth to the "
            "decoder",
        ),
        Key("prior_rec", "rec, prior z", "rec with a z from the prior", frozenset({"density"})),
    ),
)
