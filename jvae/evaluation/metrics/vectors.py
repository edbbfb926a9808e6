"""Sets of vectors, as latents or inside the encoder: how many are kept."""

from collections.abc import Mapping
from typing import Any

from jvae.evaluation.evidence import Evidence
from jvae.evaluation.metric import Key, Metric, Nouns, Results, Row, fixed


def compute(evidence: Evidence) -> dict[str, Any]:
    """Computes the means of all metrics that the encoder or its sets report."""
    results = evidence.terms.mean_metrics
    if "vectors" in results:
        share = results["vectors"] * evidence.num_examples / int(evidence.symbols.sum())
        results |= {"vectors_share": share}
    return results


def validate(evidence: Evidence) -> dict[str, Any]:
    """Computes the means of all metrics that the encoder or its sets report."""
    return evidence.terms.mean_metrics


def progress(record: Mapping[str, Any]) -> str:
    """Writes the number of vectors, where there is one."""
    return f"vectors {record['vectors']:.2f}" if "vectors" in record else ""


def _share(results: Results, nouns: Nouns) -> str:
    share = results.get("vectors_share", 0)
    return f"kept of each {nouns.row}, {share:.0%} of its {nouns.symbol}s"


def _layers(results: Results, nouns: Nouns) -> str:
    return ", ".join(f"{results[name]:.2f}" for name in results if name.startswith("vectors_layer"))


VECTORS = Metric(
    name="vectors",
    needs=frozenset({"latent"}),
    compute=compute,
    rows=(
        Row("vectors", "vectors", fixed("vectors"), _share),
        Row("rec", "  NVIB layers", _layers, "kept in each, from below"),
    ),
    keys=(
        Key(
            "vectors",
            "vectors",
            "vectors kept of each example, the mean",
            frozenset({"vector_set"}),
        ),
        Key(
            "vectors_share",
            "vectors",
            "all vectors kept, over all symbols",
            frozenset({"vector_set"}),
        ),
        Key("vectors_layer_...", "NVIB layers", "vectors kept in each NVIB layer of the encoder"),
    ),
    validation=validate,
    progress=progress,
)
