"""A run small enough to be killed and resumed in a test.

What runs in a process of its own has the settings of `tests.runs_fixture.finished`, whose compiled
functions lie in the cache: a run of other settings is compiled for half a minute.
"""

import ast
import dataclasses
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict
from rich.console import Console

from jvae.components import check
from jvae.errors import UserError
from jvae.experiments import text
from jvae.runs.directory import TrainedRun
from jvae.runs.run import load_data, make_parallel, run, train_run
from jvae.runs.task import Task
from jvae.tasks.text.task import TEXT as TEXT_TASK

SIZES = (
    "--config.model.latent_size=2",
    "--config.model.embed_size=6",
    "--config.model.hidden_size=8",
    "--config.model.init_scale=0.3",
    "--config.data.max_buckets=1",
    "--config.training.batch_size=4",
    # A recipe in which any component may take the place of another.
    "--config.model.prior=standard_normal",
    "--config.model.dropout_in=0.4",
    "--config.model.dropout_out=0.2",
    "--config.objective.rate_control=",
    "--config.objective.kl_schedule=linear",
    "--config.objective.kl_start=0.05",
    "--config.objective.kl_epochs=10.0",
    "--config.training.learning_rate=0.004",
    "--config.training.cosine_epochs=0.0",
    "--config.training.inner_optimiser=adam",
    "--config.training.inner_learning_rate=0.003",
    "--config.training.aggressive_min_epochs=11",
    "--config.training.aggressive=True",
    "--config.training.aggressive_epochs=2",
    "--config.training.inner_window=1",
    "--config.training.inner_max_updates=4",
    "--config.training.log_seconds=0.0",
    "--config.training.num_devices=1",
    "--config.evaluation.iw_samples=5",
    "--config.evaluation.num_examples=3",
)


SENTENCES = ["the cat sees a dog", "a small bird", "likes big big hears the dog cat", "dog"]
WORDS = ("the", "a", "cat", "dog", "bird", "sees", "hears", "likes", "small", "big")


_models: dict[tuple[str, ...], Any] = {}


def _made_once(config, tokenizer, dtype):
    """Models of one configuration share the functions that are compiled for them."""
    key = (config.to_json(), tokenizer.to_json(), str(dtype))
    if key not in _models:
        _models[key] = TEXT_TASK.build(config, tokenizer, dtype)
    return _models[key]


TEXT = dataclasses.replace(TEXT_TASK, build=_made_once)


def tiny_config(train: Path, **overrides: Any) -> ConfigDict:
    """The configuration of `command`; a double underscore is a dot."""
    config = text.get_config()
    config.update_from_flattened_dict(sizes())
    config.data.train = str(train)
    config.training.epochs = 2
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in overrides.items()})
    return config


def sizes() -> dict[str, Any]:
    """`SIZES` as fields of a configuration."""
    given = dict(size.removeprefix("--config.").split("=") for size in SIZES)
    words = {name: value for name, value in given.items() if not value or value.islower()}
    return {name: ast.literal_eval(v) for name, v in given.items() if name not in words} | words


def run_tiny(config: ConfigDict, workdir: Path, **options: Any) -> tuple[dict[str, Any], str]:
    """Results and what was shown."""
    shown = io.StringIO()
    results = run(TEXT, config, workdir, Console(file=shown, width=120), **options)
    return results, shown.getvalue()


def train_tiny(
    config: ConfigDict,
    workdir: Path,
    say: Callable[[str], object] = lambda line: None,
    *,
    task: Task = TEXT,
    phases: Path | None = None,
) -> TrainedRun:
    """A run that ends with its last epoch: evaluation's functions are half of what is compiled."""
    check(task.groups, config)
    parallel = make_parallel(task, config)
    data = load_data(task, config, workdir, workdir)
    return train_run(
        task, config, workdir, workdir, data, parallel, say, phases=phases, evaluated=False
    ).run


def refused(config: ConfigDict, workdir: Path) -> str:
    """The message of a run that must fail, at the latest in training."""
    with pytest.raises(UserError) as caught:
        train_tiny(config, workdir)
    message = str(caught.value)
    assert "\n" not in message and message
    return message


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
