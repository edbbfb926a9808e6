"""The page of metrics is the one that their declarations make, and every key is on it."""

from pathlib import Path

from jvae.evaluation.metrics import VAE_METRICS
from jvae.evaluation.metrics.__main__ import page

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
COMMAND = "python -m jvae.evaluation.metrics > docs/metrics.md"


def test_the_page_of_metrics_is_current():
    assert DOCS.read_text(encoding="utf-8") == page(), f"run {COMMAND}"
    assert COMMAND in page()


def test_rows_and_columns_are_of_keys_that_are_declared():
    for metric in VAE_METRICS:
        keys = {part.strip().split(".")[0] for key in metric.keys for part in key.key.split(",")}
        others = {"rec"} if metric.name == "vectors" else set()  # of NVIB layers: always there
        assert {row.key for row in metric.rows} <= keys | others, metric.name
        assert all(len(key.definition) < 250 and "|" not in key.definition for key in metric.keys)
