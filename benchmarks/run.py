"""Times jvae beside PyTorch, in turns, and prints one table.

    pip install -e '.[bench]'
    python -m benchmarks.run --suite=quick
    python -m benchmarks.run --suite=full --output=benchmarks/results.jsonl
    python -m benchmarks.run --case=captions_cnn/joint --case=captions/joint/bfloat16

Before anything is timed, `benchmarks.parity` must find both to compute the same, in every size and
precision among the cases. Each framework has a process of its own; a round runs the contestants in
the order A B C C B A; a sample during which other processes used more than a tenth of a core is
taken again. The ratio is PyTorch's time over jvae's, round by round, of which the median and the
range are shown: above 1, jvae is faster. GFLOP/s are set beside the float32 peak, bfloat16's too.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.cases import FORMS, Case, operations, parse

SUITES = {
    "quick": [Case("captions", kind) for kind in ("joint", "inner", "iw")],
    "full": [
        Case(size, kind)
        for size, kinds in {
            "captions": ("joint", "inner", "epoch", "iw", "greedy", "beam"),
            "ptb": ("joint", "inner", "epoch", "iw", "greedy", "beam"),
            "ptb_he": ("joint", "inner", "iw"),
            "yahoo": ("joint",),
            "captions_cnn": ("joint", "iw"),
            "ptb_he_cnn": ("joint", "iw"),
            "captions_tf": ("joint", "iw", "greedy"),
        }.items()
        for kind in kinds
    ]
    + [Case(size, "joint", "bfloat16") for size in ("captions", "ptb_he")],
}
FOREIGN_LIMIT = 0.1  # cores
ATTEMPTS = 5
SAMPLE_SECONDS = 0.5  # short runs are repeated within a sample until it is so long


class Worker:
    """A process that times one framework."""

    def __init__(self, framework: str):
        # Threads that wait actively would slow the other framework down.
        environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", framework],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Sends a request and waits for its answer."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended during {request}; its message stands above")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def measure(case: Case, rounds: int, workers: dict[str, Worker]) -> dict[str, Any]:
    """All contestants of a case, in turns."""
    contestants = ("jvae", *FORMS[case.kind])

    def sample(contestant: str, repeat: int) -> dict[str, Any]:
        worker = workers["jvae" if contestant == "jvae" else "torch"]
        return worker.ask(do="time", case=case, contestant=contestant, repeat=repeat)

    first = {name: sample(name, 1) for name in contestants}
    repeat = max(1, round(SAMPLE_SECONDS / min(answer["seconds"] for answer in first.values())))
    times: dict[str, list[float]] = {name: [] for name in contestants}
    foreign, disturbed = [], 0
    for _ in range(rounds):
        of_round: dict[str, list[float]] = {name: [] for name in contestants}
        for name in contestants + contestants[::-1]:
            for attempt in range(ATTEMPTS):
                answer = sample(name, repeat)
                if answer["foreign"] <= FOREIGN_LIMIT or attempt == ATTEMPTS - 1:
                    break
                disturbed += 1
            foreign.append(answer["foreign"])
            of_round[name].append(answer["seconds"])
        for name in contestants:
            times[name].append(sum(of_round[name]) / len(of_round[name]))
    for worker in workers.values():
        worker.ask(do="forget")
    ratios = {
        name: [theirs / ours for theirs, ours in zip(times[name], times["jvae"], strict=True)]
        for name in FORMS[case.kind]
    }
    return {
        "case": str(case),
        "rounds": rounds,
        "repeat": repeat,
        "seconds": times,
        "first_seconds": {name: answer["first"] for name, answer in first.items()},
        "ratios": ratios,
        "operations": operations(case),
        "foreign_cores": max(foreign),
        "samples_taken_again": disturbed,
    }


def against_the_better(result: dict[str, Any]) -> tuple[str, list[float]]:
    """PyTorch's faster form, and the ratios to it."""
    name = min(result["ratios"], key=lambda form: statistics.median(result["seconds"][form]))
    return name, result["ratios"][name]


def table(results: list[dict[str, Any]], peak: float) -> Table:
    """One row a case."""
    shown = Table(title=f"PyTorch's time / jvae's; matmul peak {peak:.0f} GFLOP/s, float32")
    for column in ("case", "jvae ms", "torch ms", "form", "ratio [range]", "GFLOP/s", "first s"):
        shown.add_column(column, justify="left" if column in ("case", "form") else "right")
    for result in results:
        form, ratios = against_the_better(result)
        ours = statistics.median(result["seconds"]["jvae"])
        theirs = statistics.median(result["seconds"][form])
        rate = result["operations"] / ours / 1e9 if result["operations"] else None
        shown.add_row(
            result["case"],
            f"{1e3 * ours:.1f}",
            f"{1e3 * theirs:.1f}",
            form,
            f"{statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]",
            f"{rate:.0f} ({rate / peak:.0%})" if rate else "",
            f"{result['first_seconds']['jvae']:.1f}",
        )
    return shown


def main() -> None:
    """Parity, then the suite."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--suite", choices=SUITES, default="quick")
    parser.add_argument(
        "--case", action="append", help="SIZE/KIND[/bfloat16] instead of a suite; repeatable"
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--output", type=Path, help="JSON lines are appended")
    arguments = parser.parse_args()
    try:
        cases = [parse(name) for name in arguments.case or ()] or SUITES[arguments.suite]
    except ValueError as error:
        parser.error(str(error))

    console = Console()
    for model in dict.fromkeys(f"{case.size}/{case.precision}" for case in cases):
        subprocess.run([sys.executable, "-m", "benchmarks.parity", model], check=True)
    workers = {name: Worker(name) for name in ("jvae", "torch")}
    results = []
    try:
        peaks = {name: worker.ask(do="peak")["gflops"] for name, worker in workers.items()}
        for case in cases:
            results.append(measure(case, arguments.rounds, workers))
            form, ratios = against_the_better(results[-1])
            console.print(f"{case}: {statistics.median(ratios):.2f} against {form}")
    finally:
        for worker in workers.values():
            worker.close()
    Console(width=120).print(table(results, max(peaks.values())))
    if arguments.output:
        record = {
            "time": time.strftime("%Y-%m-%d %H:%M"),
            "machine": machine.describe(),
            "matmul_peak_gflops": peaks,
            "results": results,
        }
        with open(arguments.output, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
