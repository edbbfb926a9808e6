"""A run small enough to be killed and resumed in a test.

What runs in a process of its own has the settings of `conftest.finished`, whose programs lie in the
cache: a run of other settings is compiled for half a minute.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SIZES = (
    "--config.model.latent_size=2",
    "--config.model.embed_size=6",
    "--config.model.hidden_size=8",
    "--config.model.init_scale=0.3",
    "--config.data.max_buckets=1",
    "--config.training.batch_size=4",
    "--config.training.aggressive=True",
    "--config.training.aggressive_epochs=2",
    "--config.training.inner_window=1",
    "--config.training.inner_max_updates=4",
    "--config.training.log_seconds=0.0",
    "--config.training.num_devices=1",
    "--config.evaluation.iw_samples=5",
    "--config.evaluation.num_examples=3",
)


WORDS = ("the", "a", "cat", "dog", "bird", "sees", "hears", "likes", "small", "big")


def write_sentences(path: Path, number: int = 60, *, seed: int = 0) -> Path:
    """A file of random sentences over ten words."""
    rng = np.random.default_rng(seed)
    words = np.array(WORDS)
    lines = [" ".join(rng.choice(words, rng.integers(3, 9))) for _ in range(number)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def command(train: Path, workdir: Path, *extra: str, epochs: int = 3) -> list[str]:
    """The command line of a tiny run."""
    return [
        sys.executable,
        "-m",
        "jvae.experiments.text",
        f"--train={train}",
        f"--workdir={workdir}",
        f"--config.training.epochs={epochs}",
        *SIZES,
        *extra,
    ]


def execute(arguments: list[str], **options) -> subprocess.CompletedProcess:
    """Runs a command to its end."""
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300, **options)


def numbers(workdir: Path) -> tuple[list[dict], dict]:
    """The log and the results without what a clock writes."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    history = [json.loads(line) for line in lines]
    for record in history:
        record.pop("seconds")
    results = json.loads((workdir / "results.json").read_text())
    for name in ("train_seconds", "evaluation_seconds"):
        results.pop(name)
    return history, results


def the_line(done: subprocess.CompletedProcess) -> str:
    """What a failed command says."""
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stderr.startswith("jvae: ") and done.stderr.endswith("\n"), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("jvae: ").strip()


def stop_when(process: subprocess.Popen, condition, signum: int) -> int:
    """Sends `signum` as soon as `condition()` holds; returns the exit code."""
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signum)
    process.communicate(timeout=120)
    return process.returncode


def lines(workdir: Path) -> int:
    path = workdir / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0
