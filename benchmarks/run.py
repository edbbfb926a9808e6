"""Times jvae beside PyTorch, in turns, and prints one table.

    pip install -e '.[bench]'
    python -m benchmarks.run --suite=quick
    python -m benchmarks.run --suite=full --output=mine.jsonl
    python -m benchmarks.run --case=captions_cnn/joint --case=captions/joint/bfloat16
    python -m benchmarks.run --device=cuda --tf32

Before anything is timed, `benchmarks.parity` must find both to compute the same, in every size and
precision among the cases. Each framework has a process of its own; a round runs the contestants in
the order A B C C B A; a sample during which other processes used more than a tenth of a core is
taken again, and marked if none of five was better. The ratio is PyTorch's time over jvae's, round
by round, of which the median and the range are shown: above 1, jvae is faster. GFLOP/s are jvae's
and set beside the float32 peak, bfloat16's too (on a GPU with --tf32, beside TF32's).

Both compute on the processor, or with --device=cuda both on one GPU; this was written without one
at hand and has never been run on one. The gate is passed without TF32.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.cases import FORMS, ONE_RUN, Case, operations, parse
from benchmarks.device import DEVICES, environment

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
SAMPLE_SECONDS = 0.5  # short runs are repeated within a sample until it is so long
RESULTS = Path(__file__).parent / "results" / "timings.jsonl"


class Worker:
    """A process that times one framework."""

    def __init__(self, framework: str, device: str, tf32: bool):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", framework, device, *["tf32"] * tf32],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(device),
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


def measure(case: Case, rounds: int, attempts: int, workers: dict[str, Worker]) -> dict[str, Any]:
    """All contestants of a case, in turns; a disturbed sample is taken up to so many times."""
    contestants = ("jvae", *FORMS[case.kind])

    def sample(contestant: str, repeat: int) -> dict[str, Any]:
        worker = workers["jvae" if contestant == "jvae" else "torch"]
        return worker.ask(do="time", case=case, contestant=contestant, repeat=repeat)

    first = {name: sample(name, 1) for name in contestants}
    repeat = max(1, round(SAMPLE_SECONDS / min(answer["seconds"] for answer in first.values())))
    times: dict[str, list[float]] = {name: [] for name in contestants}
    foreign, again = [], 0
    for _ in range(rounds):
        of_round: dict[str, list[float]] = {name: [] for name in contestants}
        for name in contestants + contestants[::-1]:
            for attempt in range(attempts):
                answer = sample(name, repeat)
                if answer["foreign"] <= FOREIGN_LIMIT or attempt == attempts - 1:
                    break
                again += 1
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
        "samples_taken_again": again,
        "samples_disturbed": sum(cores > FOREIGN_LIMIT for cores in foreign),
    }


def against_the_better(result: dict[str, Any]) -> tuple[str, list[float]]:
    """PyTorch's faster form, and the ratios to it."""
    name = min(result["ratios"], key=lambda form: statistics.median(result["seconds"][form]))
    return name, result["ratios"][name]


def commit() -> str | None:
    """That of the code which was timed, "-dirty" if there were changes to it."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        found = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return found.stdout.strip() or None


def notes(results: list[dict[str, Any]]) -> str:
    """What one run of each kind is, and what is marked."""
    kinds = dict.fromkeys(result["case"].split("/")[1] for result in results)
    lines = [f"{kind}: {ONE_RUN[kind]}" for kind in kinds]
    worst = max((r["foreign_cores"] for r in results if r["samples_disturbed"]), default=0)
    if worst:
        lines.append(f"* samples were kept while other processes used up to {worst:.1f} cores")
    return "\n".join(lines)


def table(results: list[dict[str, Any]], peak: float) -> Table:
    """One row a case."""
    title = f"PyTorch's time / jvae's; matmul peak {peak:.0f} GFLOP/s, float32"
    shown = Table(title=title, caption=notes(results), caption_justify="left")
    for column in ("case", "jvae ms", "torch ms", "form", "ratio [range]", "GFLOP/s", "first s"):
        shown.add_column(column, justify="left" if column in ("case", "form") else "right")
    for result in results:
        form, ratios = against_the_better(result)
        ours = statistics.median(result["seconds"]["jvae"])
        theirs = statistics.median(result["seconds"][form])
        rate = result["operations"] / ours / 1e9
        mark = "*" if result["samples_disturbed"] else ""
        shown.add_row(
            result["case"],
            f"{1e3 * ours:.1f}",
            f"{1e3 * theirs:.1f}",
            form,
            f"{statistics.median(ratios):.2f}{mark} [{min(ratios):.2f}-{max(ratios):.2f}]",
            f"{rate:.0f} ({rate / peak:.0%})",
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
    parser.add_argument(
        "--attempts", type=int, default=5, help="at a sample that other processes disturb"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON lines are appended")
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="of both frameworks")
    parser.add_argument("--tf32", action="store_true", help="a GPU may round factors, in both")
    arguments = parser.parse_args()
    device = arguments.device
    if arguments.tf32 and device == "cpu":
        parser.error("--tf32 is a GPU's: give --device=cuda too")
    try:
        cases = [parse(name) for name in arguments.case or ()] or SUITES[arguments.suite]
    except ValueError as error:
        parser.error(str(error))

    console, code = Console(), commit()
    for model in dict.fromkeys(f"{case.size}/{case.precision}" for case in cases):
        gate = [sys.executable, "-m", "benchmarks.parity", model, f"--device={device}"]
        if subprocess.run(gate, env=environment(device)).returncode:
            raise SystemExit("nothing was timed: the reason stands above")
    workers = {name: Worker(name, device, arguments.tf32) for name in ("jvae", "torch")}
    results = []
    try:
        told = {name: worker.ask(do="describe") for name, worker in workers.items()}
        peaks = {name: answer["gflops"] for name, answer in told.items()}
        for case in cases:
            results.append(measure(case, arguments.rounds, arguments.attempts, workers))
            form, ratios = against_the_better(results[-1])
            console.print(f"{case}: {statistics.median(ratios):.2f} against {form}")
    finally:
        for worker in workers.values():
            worker.close()
    Console(width=120).print(table(results, max(peaks.values())))
    record = {
        "time": time.strftime("%Y-%m-%d %H:%M"),
        "commit": code,
        "machine": machine.describe() | {"device": told["torch"]["device"]},
        "tf32": arguments.tf32,
        "matmul_peak_gflops": peaks,
        "results": results,
    }
    with open(arguments.output, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
