"""Maximum mean discrepancy of all latents together and the prior."""

from typing import Any

from jvae.evaluation.diagnostics import mmd_squared
from jvae.evaluation.evidence import Evidence
from jvae.evaluation.metric import Column, Key, Metric, Nouns, Results, Row, entry


def compute(evidence: Evidence) -> dict[str, Any]:
    """Computes MMD^2; of a single example there is none."""
    if evidence.num_examples == 1:
        return {}
    return {"mmd": mmd_squared(evidence.terms.z, evidence.all_prior_z())._asdict()}


def _text(results: Results, nouns: Nouns) -> str:
    return f"{results['mmd']['value']:.4f} ± {results['mmd']['standard_error']:.4f}"


MMD = Metric(
    name="MMD",
    needs=frozenset({"one_vector"}),
    compute=compute,
    rows=(Row("mmd", "MMD^2", _text, "all z against the prior; 0: alike"),),
    columns=(
        Column("MMD^2", entry("mmd", "value"), 4, "about 0: all z together look like the prior"),
    ),
    keys=(
        Key(
            "mmd.value, mmd.standard_error",
            "MMD^2",
            "`E k(z, z') + E k(y, y') - 2 E k(z, y)` of the z of all examples and draws y of the "
            "prior, with an inverse multiquadratic kernel; about 0 where they look alike. Compare "
            "it at one latent size only (Gretton et al. 2012)",
        ),
    ),
)
