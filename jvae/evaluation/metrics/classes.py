"""The use of its classes by a categorical latent."""

from typing import Any

import numpy as np

from jvae.evaluation.metric import Key, Metric, Nouns, Row


def class_usage(probabilities: Any) -> dict[str, Any]:
    """Measures `q(z | x)` of a split, `[N, K]`.

    Returns:
      "used": classes that are the likeliest of some example; "effective": `exp H(q(z))`, how many
      equally frequent classes the aggregate posterior is worth; "mi": `H(q(z)) - mean H(q(z | x))`,
      the exact mutual information of example and class, nats; "share": of the examples, by class.
    """
    q = np.asarray(probabilities, np.float64)

    def entropy(p: np.ndarray) -> np.ndarray:
        return -np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0), axis=-1)

    whole = float(entropy(q.mean(axis=0)))
    share = np.bincount(q.argmax(axis=1), minlength=q.shape[1]) / len(q)
    return {
        "used": int(np.sum(share > 0)),
        "effective": float(np.exp(whole)),
        "mi": whole - float(entropy(q).mean()),
        "share": share.tolist(),
    }


def _compute(evidence: Any) -> dict[str, Any]:
    return {"classes": class_usage(evidence.terms.mean)}


def _validate(evidence: Any) -> dict[str, Any]:
    return _compute(evidence) if "classes" in evidence.offers.more else {}


def _text(results: Any, nouns: Nouns) -> str:
    usage = results["classes"]
    return f"{usage['used']} of {len(usage['share'])}"


CLASSES = Metric(
    name="classes",
    needs=frozenset({"classes"}),
    compute=_compute,
    rows=(
        Row("classes", "classes", _text, lambda r, nouns: f"likeliest for some {nouns.row}"),
        Row(
            "classes",
            "  worth",
            lambda r, nouns: f"{r['classes']['effective']:.2f}",
            "equally frequent classes, exp H(q(z))",
        ),
        Row(
            "classes",
            "  MI",
            lambda r, nouns: f"{r['classes']['mi']:.2f}",
            "nats, exact: H(q(z)) - mean H(q(z | x))",
        ),
    ),
    keys=(
        Key(
            "classes",
            "classes",
            "use of a categorical latent: classes `used`, `effective` number `exp H(q(z))`, exact "
            "`mi`, and `share` of the examples by class",
        ),
    ),
    validation=_validate,
    progress=lambda record: f"classes {record['classes']['used']}" if "classes" in record else "",
)
