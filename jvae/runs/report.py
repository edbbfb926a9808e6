"""The table of numbers of a finished run."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from jvae.evaluation.evaluate import table_rows
from jvae.evaluation.metric import Metric, Nouns


def plus_minus(value: float, error: float | None, digits: int = 2) -> str:
    """Writes `value ± error`, or the value alone: one example has no error bar."""
    known = error is not None and math.isfinite(error)
    return f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if known else "")


def print_table(
    console: Console,
    title: str,
    metrics: Sequence[Metric],
    results: Mapping[str, Any],
    nouns: Nouns,
) -> None:
    """Prints the numbers, and the verdict in words."""
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    for name in ("", "value", ""):
        table.add_column(name, justify="right" if name else "left")
    for row in table_rows(metrics, results, nouns):
        table.add_row(*row)
    console.print(table)
    if "verdict" in results:
        console.print(f"verdict: {results['verdict']['text']}", soft_wrap=True, highlight=False)
        if results["verdict"]["hint"]:
            console.print(f"  {results['verdict']['hint']}", soft_wrap=True, highlight=False)
