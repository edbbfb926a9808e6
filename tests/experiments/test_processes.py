"""Two processes on one machine compute what one computes, and read each other's checkpoints."""

import os
import re
import signal
import socket
import subprocess

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
    the_line,
    write_sentences,
)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def environment(devices: int) -> dict[str, str]:
    flags = os.environ.get("XLA_FLAGS", "").split()
    kept = [flag for flag in flags if "device_count" not in flag]
    return os.environ | {
        "XLA_FLAGS": " ".join([*kept, f"--xla_force_host_platform_device_count={devices}"])
    }


def start_two(arguments: list[str]) -> list[subprocess.Popen]:
    """A command as two processes of two devices each."""
    port = free_port()
    place = [f"--config.training.coordinator=127.0.0.1:{port}", "--config.training.num_processes=2"]
    return [
        subprocess.Popen(
            [*arguments, *place, f"--config.training.process_id={number}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(2),
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


# Each of two processes compiles the whole program: with one bucket it is half as long.
SHORT = "--config.data.max_buckets=1"


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    return write_sentences(tmp_path_factory.mktemp("data") / "train.txt")


def test_two_processes_are_one_and_either_resumes_the_other(sentences, tmp_path):
    def arguments(name: str, epochs: int) -> list[str]:
        return command(sentences, tmp_path / name, SHORT, epochs=epochs)

    whole = execute(arguments("one", 3), env=environment(1))
    assert whole.returncode == 0, whole.stderr
    told = re.search(r"predicted ([\d,]+) MB, measured ([\d,]+) MB", whole.stdout).groups()
    predicted, measured = (int(number.replace(",", "")) for number in told)
    assert abs(predicted - measured) < 0.25 * measured
    execute_two(arguments("two", 1))
    back = execute(arguments("two", 2), env=environment(1))  # one process goes on
    assert back.returncode == 0, back.stderr
    assert "resumed at step" in back.stdout
    # Two go on, each with the whole vocabulary, half of it on each of its devices.
    shown = execute_two([*arguments("two", 3), "--config.training.vocab_shards=2"])
    assert "resumed at step" in shown
    expected_log, expected_results = numbers(tmp_path / "one")
    log, results = numbers(tmp_path / "two")
    assert_close(log, expected_log, rtol=1e-3, atol=1e-4)
    results.pop("examples"), expected_results.pop("examples")
    assert_close(results, expected_results, rtol=1e-3, atol=1e-3)
    ours, theirs = (load_run(tmp_path / run).params for run in ("two", "one"))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.slow  # a minute, most of it compilation
def test_a_signal_to_one_process_stops_both_at_the_same_step(sentences, tmp_path):
    arguments = command(sentences, tmp_path / "run", SHORT, epochs=40)
    processes = start_two(arguments)
    code = stop_when(processes[1], lambda: lines(tmp_path / "run") >= 1, signal.SIGTERM)
    processes[0].communicate(timeout=120)
    assert [processes[0].returncode, code] == [128 + signal.SIGTERM] * 2
    done = lines(tmp_path / "run")
    assert 1 <= done < 40
    again = execute(
        command(sentences, tmp_path / "run", SHORT, epochs=done + 1), env=environment(1)
    )
    assert again.returncode == 0, again.stderr
    assert "resumed at step" in again.stdout and lines(tmp_path / "run") == done + 1


def test_a_coordinator_without_a_port(sentences, tmp_path):
    arguments = command(
        sentences,
        tmp_path / "run",
        "--config.training.coordinator=nonsense",
        "--config.training.num_processes=2",
        "--config.training.process_id=1",
    )
    message = the_line(execute(arguments, env=environment(1)))
    assert "training.coordinator = 'nonsense' is neither" in message
