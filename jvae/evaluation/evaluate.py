"""Metrics of a split, and the table, the columns, the line and the reference made of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from jvae.evaluation.evidence import Evidence
from jvae.evaluation.metric import Column, Key, Metric, Nouns, Results
from jvae.evaluation.offers import WORDS

COUNTED = (
    Key("examples", "examples", "evaluated examples, N"),
    Key("symbols", "symbols", "predicted symbols of all examples, by which perplexity divides"),
)


def evaluate(metrics: Sequence[Metric], evidence: Evidence) -> dict[str, Any]:
    """Computes every number that the metrics declare and the model defines.

    Returns:
      A JSON-ready dictionary, nats per example unless a metric says otherwise. Numbers that the
      model does not define (the KL of an autoencoder) are absent.

    Raises:
      UserError: the reconstruction, the KL or IW-NLL is not finite.
    """
    evidence.check_finite("rec", evidence.terms.rec)
    evidence.check_finite("KL", evidence.terms.kl)
    results: dict[str, Any] = {
        "examples": evidence.num_examples,
        "symbols": int(evidence.symbols.sum()),
    }
    for metric in metrics:
        if evidence.offers.meets(metric.needs):
            results |= metric.compute(evidence)
    return results


def validation_metrics(metrics: Sequence[Metric], evidence: Evidence) -> dict[str, Any]:
    """Computes the metrics of one epoch: nats per example, the ELBO at full KL weight."""
    record: dict[str, Any] = {}
    for metric in metrics:
        if metric.validation is not None:
            record |= metric.validation(evidence)
    return record


def epoch_line(metrics: Sequence[Metric], record: Mapping[str, Any]) -> str:
    """Writes the record of an epoch in one line."""
    parts = [part for metric in metrics if (part := metric.progress(record))]
    return (
        f"epoch {record['epoch']}: valid {'  '.join(parts)}  "
        f"kl weight {record['kl_weight']:.2f}  {record['seconds']:.0f} s"
    )


def table_rows(
    metrics: Sequence[Metric], results: Results, nouns: Nouns
) -> list[tuple[str, str, str]]:
    """Makes (name, number, remark) for each number that the model defines."""
    rows = []
    for row in (row for metric in metrics for row in metric.rows):
        if row.key in results and (text := row.text(results, nouns)):
            name = row.name if isinstance(row.name, str) else row.name(results, nouns)
            note = nouns.put(row.note) if isinstance(row.note, str) else row.note(results, nouns)
            rows.append((name, text, note))
    return rows


def columns(metrics: Sequence[Metric], nouns: Nouns) -> tuple[Column, ...]:
    """Returns the columns of a comparison, with the words of a task."""
    found = (column for metric in metrics for column in metric.columns)
    return tuple(column._replace(reads=nouns.put(column.reads)) for column in found)


def metrics_reference(metrics: Sequence[Metric]) -> str:
    """Writes the keys of `results.json` as a table in Markdown."""
    lines = ["| name | key | defined for | definition |", "|---|---|---|---|"]
    nothing: frozenset[str] = frozenset()
    for needs, keys in [(nothing, COUNTED), *((metric.needs, metric.keys) for metric in metrics)]:
        for key in keys:
            wanted = needs | key.needs
            words = [WORDS[name] for name in WORDS if name in wanted]
            defined = ", ".join([*words, *sorted(wanted - WORDS.keys())]) or "every model"
            written = ", ".join(f"`{one.strip()}`" for one in key.key.split(","))
            lines.append(f"| {key.name} | {written} | {defined} | {key.definition} |")
    return "\n".join(lines) + "\n"
