"""A run whose sentences are read from disk step by step is the resident run, to the bit."""

import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from jvae.experiments.setup import load_run
from jvae.training import loop
from jvae.training.logs import read_metrics
from tests.experiments.conftest import refused, run_tiny, tiny_config, training_only

JOINT = {"training__aggressive": False, "data__max_buckets": 2}
# The aggressive phase ends after the first of two epochs.
AGGRESSIVE = {"training__aggressive_epochs": 1, "data__max_buckets": 2}


@pytest.fixture(autouse=True)
def no_evaluation():
    with training_only():
        yield


def run(train: Path, workdir: Path, **overrides) -> Path:
    run_tiny(tiny_config(train, **overrides), workdir)
    return workdir


def stop_at_step(number: int):
    """In place of the signals: asks once, at a run's step of this number."""
    calls = iter(range(1000))
    return lambda *arguments: signal.SIGTERM if next(calls) == number else 0


def assert_same_run(first: Path, second: Path) -> None:
    for a, b in zip(read_metrics(first), read_metrics(second), strict=True):
        assert a | {"seconds": 0} == b | {"seconds": 0}
    ours, theirs = load_run(first).params, load_run(second).params
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("settings", [JOINT, AGGRESSIVE], ids=["joint", "aggressive"])
def test_streamed_and_resident_are_one_run(settings, train, tmp_path, monkeypatch):
    whole = run(train, tmp_path / "resident", **settings)
    assert_same_run(run(train, tmp_path / "streamed", **settings, data__stream=True), whole)
    if settings is JOINT:
        return  # both phases are stopped in the other case, once each

    # Stopped twice in mid-epoch, and taken up again by the other form.
    for stream in (True, False):
        with monkeypatch.context() as patch, pytest.raises(loop.Interrupted):
            patch.setattr(loop, "_asked_to_stop", stop_at_step(9))
            run(train, tmp_path / "resumed", **settings, data__stream=stream)
    assert_same_run(run(train, tmp_path / "resumed", **settings, data__stream=True), whole)


def test_on_several_devices_too(train, tmp_path):
    settings = {"training__epochs": 1, "training__max_batches": 3, "training__num_devices": 2}
    whole = run(train, tmp_path / "resident", **settings)
    assert_same_run(run(train, tmp_path / "streamed", **settings, data__stream=True), whole)


@pytest.mark.parametrize("aggressive", [False, True])
def test_an_explosion_names_the_same_sentences(aggressive, train, tmp_path):
    def message(stream: bool) -> str:
        config = tiny_config(
            train,
            data__stream=stream,
            training__aggressive=aggressive,
            training__optimiser="sgd",
            training__learning_rate=1e30,
            training__inner_optimiser="sgd",
            training__inner_learning_rate=1e30,
            training__inner_window=4,
        )
        return refused(config, tmp_path / f"run-{stream}")

    resident = message(False)
    assert "training sentences [" in resident
    # The first update is finite; the next is the next step's, or that of a batch drawn.
    assert ("step 0, inner update 1" if aggressive else "step 1") in resident
    assert message(True) == resident
