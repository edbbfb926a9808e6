"""A run whose sentences are read from disk step by step is the resident run, to the bit."""

import json
import signal
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jvae.data.store import StoredTokens
from jvae.evaluation.evaluate import evaluate
from jvae.evaluation.evidence import Evidence
from jvae.evaluation.functions import SplitBatches, make_functions
from jvae.evaluation.settings import EvaluationSettings
from jvae.runs.directory import load_run
from jvae.training import loop
from jvae.training.checkpoint import FOLDER
from jvae.training.logs import read_metrics
from tests.tiny import TEXT, refused, tiny_config, train_tiny

JOINT = {"training__aggressive": False, "data__max_buckets": 2}
# The aggressive phase ends after the first of two epochs.
AGGRESSIVE = {"training__aggressive_epochs": 1, "data__max_buckets": 2}


def run(train: Path, workdir: Path, **overrides) -> Path:
    train_tiny(tiny_config(train, **overrides), workdir)
    return workdir


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Of the loop: a second for each step, and none for what happens between them."""
    steps = [0]
    at_row = loop.at_row

    def count(*arguments):
        steps[0] += 1
        return at_row(*arguments)

    monkeypatch.setattr(loop, "at_row", count)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: steps[0]))


def stop_at_step(number: int):
    """In place of the signals: asks once, at a run's step of this number."""
    calls = iter(range(1000))
    return lambda *arguments: signal.SIGTERM if next(calls) == number else 0


def assert_same_run(first: Path, second: Path) -> None:
    for a, b in zip(read_metrics(first), read_metrics(second), strict=True):
        assert a == b and a["seconds"] > 0  # also those of an epoch that was stopped twice
    ours, theirs = load_run(first, TEXT).params, load_run(second, TEXT).params
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_checkpoint_older_than_the_seconds_in_it_goes_on(train, tmp_path, monkeypatch):
    settings = JOINT | {"training__epochs": 1}
    with monkeypatch.context() as patch, pytest.raises(loop.Interrupted):
        patch.setattr(loop, "_asked_to_stop", stop_at_step(5))
        run(train, tmp_path, **settings)
    path = tmp_path / FOLDER / "5" / "meta" / "metadata"
    meta = json.loads(path.read_text())
    assert meta.pop("seconds") == 5
    path.write_text(json.dumps(meta))
    [record] = read_metrics(run(train, tmp_path, **settings))
    assert record["seconds"] == record["step"] - 5


def test_an_evaluation_leaves_the_training_sentences_on_disk(finished, monkeypatch):
    trained, read = load_run(finished.workdir, TEXT), []
    functions, source = make_functions(trained.model), TEXT.load(trained.config).source
    get = StoredTokens.__getitem__
    monkeypatch.setattr(
        StoredTokens, "__getitem__", lambda self, index: read.append(len(index)) or get(self, index)
    )

    def results(stream: bool):
        config = trained.config.copy_and_resolve_references()
        config.data.stream = stream
        data = TEXT.load(config, resources=trained.resources, source=source)
        kept = {name: isinstance(split.x.ids, StoredTokens) for name, split in data.splits.items()}
        assert kept == {"train": stream, "valid": False, "test": False}
        evidence = Evidence(
            functions,
            trained.params,
            SplitBatches(data.splits["train"], data.buckets.widths, 16),
            jax.random.key(1),
            EvaluationSettings(iw_samples=3, iw_examples=20),
            TEXT.nouns,
        )
        return evaluate(TEXT.metrics, evidence)

    assert results(True) == results(False)
    assert read and max(read) == 16


@pytest.mark.slow
def test_on_several_devices_too(train, tmp_path):
    settings = {"training__epochs": 1, "training__max_batches": 3, "training__num_devices": 2}
    whole = run(train, tmp_path / "resident", **settings)
    assert_same_run(run(train, tmp_path / "streamed", **settings, data__stream=True), whole)


@pytest.mark.slow
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
