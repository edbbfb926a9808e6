"""A run killed anywhere ends with the numbers of a run that was left alone."""

import signal
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from jvae.runs.directory import load_run
from tests.tiny import (
    TEXT,
    command,
    lines,
    numbers,
    run_tiny,
    stop_when,
    tiny_config,
    train_tiny,
)


def assert_same_run(workdir: Path, untouched: Path) -> None:
    assert numbers(workdir) == numbers(untouched)
    ours, theirs = load_run(workdir, TEXT).params, load_run(untouched, TEXT).params
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)
    epochs = [record["epoch"] for record in numbers(workdir)[0]]
    assert epochs == [1, 2, 3]


def start(arguments: list[str]) -> subprocess.Popen:
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def go_on(finished, workdir: Path) -> None:
    """To the end, in this process: what stopped the run was another one."""
    _, shown = run_tiny(finished.config, workdir)
    assert "resumed at step" in shown
    assert_same_run(workdir, finished.workdir)


@pytest.mark.slow
def test_kill_9_in_mid_epoch_and_then_in_mid_save(finished, tmp_path):
    arguments = command(finished.train, tmp_path / "run")
    # After the first epoch's line: the second epoch is under way.
    code = stop_when(start(arguments), lambda: lines(tmp_path / "run") == 1, signal.SIGKILL)
    assert code == -signal.SIGKILL
    folder = tmp_path / "run" / "checkpoints"

    def saving() -> bool:
        return lines(tmp_path / "run") == 2 and any("tmp" in p.name for p in folder.iterdir())

    stop_when(start(arguments), saving, signal.SIGKILL)
    assert any("tmp" in path.name for path in folder.iterdir()), "the save was not cut"
    go_on(finished, tmp_path / "run")


@pytest.mark.slow
def test_a_signal_saves_and_the_same_command_continues(finished, tmp_path):
    arguments = command(finished.train, tmp_path / "run")
    for epochs, signum in enumerate((signal.SIGTERM, signal.SIGINT), start=1):
        process = start(arguments)
        code = stop_when(process, lambda n=epochs: lines(tmp_path / "run") == n, signum)
        assert code == 128 + signum
    go_on(finished, tmp_path / "run")


def test_only_the_last_two_and_the_best_checkpoint_are_kept(finished):
    folder = finished.workdir / "checkpoints"
    steps = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    history = numbers(finished.workdir)[0]
    best = max(history, key=lambda record: record["elbo"])["step"]
    assert set(steps) == {history[-1]["step"], history[-2]["step"], best}


@pytest.mark.slow
def test_more_epochs_continue_a_finished_run(finished, tmp_path):
    train_tiny(tiny_config(finished.train, training__epochs=1), tmp_path / "run")
    go_on(finished, tmp_path / "run")
    go_on(finished, tmp_path / "run")  # the same on a finished run trains no more
