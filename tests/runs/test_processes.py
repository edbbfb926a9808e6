"""Two processes on one machine compute what one computes, and read each other's checkpoints."""

import os
import re
import signal
import socket
import subprocess

import jax
import numpy as np
import pytest

from jvae.errors import UserError
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


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def start_two(arguments: list[str]) -> list[subprocess.Popen]:
    """A command as two processes of two devices each."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    kept = [flag for flag in flags if "device_count" not in flag]
    devices = " ".join([*kept, "--xla_force_host_platform_device_count=2"])
    place = [
        f"--config.training.coordinator=127.0.0.1:{free_port()}",
        "--config.training.num_processes=2",
        "--config.training.num_devices=0",
    ]
    return [
        subprocess.Popen(
            [*arguments, *place, f"--config.training.process_id={number}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"XLA_FLAGS": devices},
        )
        for number in (0, 1)
    ]


def execute_two(arguments: list[str]) -> str:
    processes = start_two(arguments)
    shown = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], shown
    assert "verdict" in shown[0][0]
    assert "epoch" not in shown[1][0]  # the second says nothing of its own
    return shown[0][0]


def assert_close(first, second, **tolerance) -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_close(first[key], second[key], **tolerance)
    elif isinstance(first, list):
        for a, b in zip(first, second, strict=True):
            assert_close(a, b, **tolerance)
    elif isinstance(first, float):
        np.testing.assert_allclose(first, second, **tolerance)
    else:
        assert first == second


@pytest.mark.slow
def test_two_processes_are_one_and_either_resumes_the_other(finished, tmp_path):
    workdir = tmp_path / "run"
    # A signal to one stops both at the same step.
    processes = start_two(command(finished.train, workdir))
    code = stop_when(processes[1], lambda: lines(workdir) >= 1, signal.SIGTERM)
    processes[0].communicate(timeout=120)
    assert [processes[0].returncode, code] == [128 + signal.SIGTERM] * 2
    assert lines(workdir) < 3
    # One process goes on.
    said: list[str] = []
    train_tiny(tiny_config(finished.train, training__epochs=2), workdir, said.append)
    assert any("resumed at step" in line for line in said) and lines(workdir) == 2
    # Two go on, each with all parameters, half of the largest on each of its devices.
    shown = execute_two([*command(finished.train, workdir), "--config.training.model_shards=2"])
    assert "resumed at step" in shown
    told = re.search(r"predicted ([\d,]+) MB, measured ([\d,]+) MB", shown).groups()
    predicted, measured = (int(number.replace(",", "")) for number in told)
    assert abs(predicted - measured) < 0.25 * measured
    expected_log, expected_results = numbers(finished.workdir)
    log, results = numbers(workdir)
    assert_close(log, expected_log, rtol=1e-3, atol=1e-4)
    results.pop("shown"), expected_results.pop("shown")
    assert_close(results, expected_results, rtol=1e-3, atol=1e-3)
    ours, theirs = (load_run(run, TEXT).params for run in (workdir, finished.workdir))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_a_coordinator_without_a_port(train, tmp_path):
    config = tiny_config(train)
    fields = {"coordinator": "nonsense", "num_processes": 2, "process_id": 1}
    config.training.update(fields)
    with pytest.raises(UserError, match="training.coordinator = 'nonsense' is neither") as caught:
        run_tiny(config, tmp_path / "run")
    assert "\n" not in str(caught.value)
