"""Finished run directories -> one Markdown table, a row per run and a mean per group.

    python experiments/summarise.py runs/chitchat-basic-seed* runs/chitchat-aggressive-seed*

Runs that differ only in the `-seedN` at the end of their name form a group, whose row gives
mean ± sample standard deviation over seeds.
"""

import json
import re
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

COLUMNS = (
    ("IW-NLL", "iw_nll", 2),
    ("-ELBO", "elbo", 2),
    ("rec", "rec", 2),
    ("KL", "kl", 2),
    ("MI (batch)", "mi_batch", 2),
    ("MI (corpus)", "mi_corpus", 2),
    ("AU", "au", 1),
    ("rec, shuffled z", "shuffled_rec", 2),
    ("s / epoch", "seconds_per_epoch", 0),
)


def figures(run: Path) -> dict[str, float | None]:
    """The columns' numbers of one run."""
    results: dict[str, Any] = json.loads((run / "results.json").read_text())
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for name in ("mi_batch", "mi_corpus"):
        results[name] = results.get(name, {}).get("value")
    results["elbo"] = -results["elbo"] if "elbo" in results else None
    results["seconds_per_epoch"] = sum(record["seconds"] for record in history) / len(history)
    return {key: results.get(key) for _, key, _ in COLUMNS}


def main(paths: list[str]) -> None:
    """Prints the table."""
    groups: dict[str, list[dict[str, float | None]]] = defaultdict(list)
    print("| run | " + " | ".join(name for name, _, _ in COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for path in map(Path, paths):
        row = figures(path)
        groups[re.sub(r"-seed\d+$", "", path.name)].append(row)
        cells = ["" if row[key] is None else f"{row[key]:.{d}f}" for _, key, d in COLUMNS]
        print(f"| {path.name} | " + " | ".join(cells) + " |")
    for name, rows in groups.items():
        if len(rows) < 2:
            continue
        cells = []
        for _, key, digits in COLUMNS:
            values = [row[key] for row in rows if row[key] is not None]
            if len(values) < 2:  # no latent, or no bound
                cells.append("")
                continue
            mean, spread = statistics.mean(values), statistics.stdev(values)
            cells.append(f"{mean:.{digits}f} ± {spread:.{digits}f}")
        print(f"| **{name}**, {len(rows)} seeds | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
