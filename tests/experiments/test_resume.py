"""A run killed anywhere ends with the numbers of a run that was left alone."""

import signal
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from jvae.experiments.setup import load_run
from tests.experiments.setting import (
    command,
    execute,
    lines,
    numbers,
    stop_when,
    write_sentences,
)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory) -> Path:
    return write_sentences(tmp_path_factory.mktemp("data") / "train.txt")


@pytest.fixture(scope="module")
def untouched(sentences, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "untouched"
    done = execute(command(sentences, workdir))
    assert done.returncode == 0, done.stderr
    return workdir


def assert_same_run(workdir: Path, untouched: Path) -> None:
    assert numbers(workdir) == numbers(untouched)
    ours, theirs = load_run(workdir).params, load_run(untouched).params
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)
    epochs = [record["epoch"] for record in numbers(workdir)[0]]
    assert epochs == [1, 2, 3]


def start(arguments: list[str]) -> subprocess.Popen:
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_kill_9_in_mid_epoch_and_then_in_mid_save(sentences, untouched, tmp_path):
    process = start(command(sentences, tmp_path / "run"))
    # After the first epoch's line: the second epoch is under way.
    code = stop_when(process, lambda: lines(tmp_path / "run") == 1, signal.SIGKILL)
    assert code == -signal.SIGKILL
    process = start(command(sentences, tmp_path / "run"))
    folder = tmp_path / "run" / "checkpoints"

    def saving() -> bool:
        return lines(tmp_path / "run") == 2 and any("tmp" in p.name for p in folder.iterdir())

    stop_when(process, saving, signal.SIGKILL)
    assert any("tmp" in path.name for path in folder.iterdir()), "the save was not cut"
    assert execute(command(sentences, tmp_path / "run")).returncode == 0
    assert_same_run(tmp_path / "run", untouched)


def test_a_signal_saves_and_the_same_command_continues(sentences, untouched, tmp_path):
    arguments = command(sentences, tmp_path / "run")
    for epochs, signum in enumerate((signal.SIGTERM, signal.SIGINT), start=1):
        process = start(arguments)
        code = stop_when(process, lambda n=epochs: lines(tmp_path / "run") == n, signum)
        assert code == 128 + signum
    again = execute(arguments)
    assert again.returncode == 0, again.stderr
    assert "resumed at step" in again.stdout
    assert_same_run(tmp_path / "run", untouched)


def test_only_the_last_two_and_the_best_checkpoint_are_kept(untouched):
    steps = sorted(int(p.name) for p in (untouched / "checkpoints").iterdir() if p.name.isdigit())
    history = numbers(untouched)[0]
    best = max(history, key=lambda record: record["elbo"])["step"]
    assert set(steps) == {history[-1]["step"], history[-2]["step"], best}


def test_more_epochs_continue_a_finished_run(sentences, untouched, tmp_path):
    workdir = tmp_path / "run"
    assert execute(command(sentences, workdir, epochs=1)).returncode == 0
    # The same command on a finished run trains no more.
    for _ in range(2):
        assert execute(command(sentences, workdir, epochs=3)).returncode == 0
        assert_same_run(workdir, untouched)
