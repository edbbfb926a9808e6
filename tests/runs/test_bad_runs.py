"""A run that is resumed wrongly, damaged or overtaken by events: one line, and nothing lost."""

import dataclasses
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from rich.console import Console

from jvae.configs import flat
from jvae.data.batching import epoch_plan
from jvae.errors import UserError
from jvae.runs.directory import load_run, task_name
from jvae.runs.flags import guarded
from jvae.runs.run import run
from jvae.training import checkpoint, loop
from jvae.training.checkpoint import FOLDER
from jvae.training.logs import read_metrics
from jvae.training.optimisers import OPTIMISERS
from tests.tiny import (
    TEXT,
    command,
    execute,
    lines,
    refused,
    run_tiny,
    the_line,
    tiny_config,
    train_tiny,
    write_sentences,
)

# Resuming.


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A finished run that may be damaged."""
    workdir = tmp_path / "run"
    shutil.copytree(finished.workdir, workdir)
    return workdir


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("model__hidden_size", 9, "model.hidden_size was 8 and is now 9"),
        ("training__seed", 1, "training.seed was 0 and is now 1"),
        ("data__max_size", 10, "data.max_size was 10000 and is now 10"),
        ("data__name", "chitchat", "data.name was 'text' and is now 'chitchat'"),
        ("evaluation__mi_batch_size", 8, "evaluation.mi_batch_size was 32 and is now 8"),
    ],
)
def test_another_run_is_not_mixed_in(finished, copied, field, value, says):
    before = (copied / "config.json").read_bytes()
    message = refused(tiny_config(finished.train, **{field: value}), copied)
    assert f"{copied} holds another run: {says}" in message
    assert (copied / "config.json").read_bytes() == before


def test_other_sentences_in_the_same_file(finished, copied):
    before = finished.train.read_bytes()
    try:
        write_sentences(finished.train, seed=1)
        message = refused(finished.config, copied)
    finally:
        finished.train.write_bytes(before)
    assert f"{copied} holds another run: the corpus text" in message


@pytest.mark.slow
def test_the_same_sentences_elsewhere_are_the_same_run(finished, copied, tmp_path):
    moved = tmp_path / "moved.txt"
    moved.write_bytes(finished.train.read_bytes())
    config = tiny_config(moved, training__epochs=finished.config.training.epochs)
    results, shown = run_tiny(config, copied)
    assert "resumed at step" in shown and results["elbo"] == finished.results["elbo"]


def test_another_vocabulary(finished, copied):
    path = copied / "tokenizer.json"
    path.write_text(path.read_text().replace('"bird"', '"fish"'))
    message = refused(finished.config, copied)
    assert f"{copied} holds another run: tokenizer.json of {copied} differs" in message


# Damaged run directories.


@pytest.mark.parametrize("damage", ["", "{", "\x00", "[1]", '{"training": 3}'])
def test_a_damaged_config(copied, damage):
    (copied / "config.json").write_text(damage)
    with pytest.raises(UserError) as caught:
        load_run(copied, TEXT)
    assert f"{copied / 'config.json'} is damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_of_an_earlier_jvae(finished, copied):
    """Its fields are others, and its configuration names no task."""
    path = copied / "config.json"
    for old in ({"config": 3}, {"model": {"prior_components": 10}}):
        path.write_text(json.dumps(old))
        with pytest.raises(UserError) as caught:
            load_run(copied, TEXT)
        (name,) = (field for field, _ in flat(old))
        assert f"{path} has the field {name}, which this jvae does not know" in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=f"{path} names no task: the run is of an earlier jvae"):
        task_name(copied)
    # One that is continued is known by its checkpoint.
    for stored in (copied / FOLDER).glob("*/meta/metadata"):
        meta = json.loads(stored.read_text())
        meta["config"]["model"]["prior_components"] = 10
        stored.write_text(json.dumps(meta))
    message = refused(finished.config, copied)
    assert f"{copied} has the field model.prior_components, which this jvae" in message


def test_a_config_of_another_version(copied):
    path = copied / "config.json"
    path.write_text(path.read_text().replace('"encoder": "lstm"', '"encoder": "gru"'))
    with pytest.raises(UserError, match=f"{path}: model.encoder = 'gru' is unknown"):
        load_run(copied, TEXT)


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff", b"{}"])
def test_a_damaged_tokenizer(finished, copied, damage):
    (copied / "tokenizer.json").write_bytes(damage)
    with pytest.raises(UserError) as caught:
        load_run(copied, TEXT)
    assert str(copied / "tokenizer.json") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(copied / "tokenizer.json") in refused(finished.config, copied)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_file(copied, name):
    (copied / name).unlink()
    with pytest.raises(UserError, match=f"{copied / name} is missing"):
        load_run(copied, TEXT)


def test_a_damaged_checkpoint(finished, copied):
    for path in (copied / FOLDER).rglob("*"):
        if path.is_file() and "state" in path.parts:
            os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UserError) as caught:
        load_run(copied, TEXT)
    assert str(copied / FOLDER) in str(caught.value) and "is damaged" in str(caught.value)
    assert "is damaged" in refused(finished.config, copied)


def test_a_damaged_log(finished, copied):
    path = copied / "metrics.jsonl"
    path.write_text("{\n" + path.read_text())
    config = tiny_config(finished.train, training__epochs=4)
    assert f"{path} is damaged in line 1" in refused(config, copied)


def test_commands_on_a_folder_that_is_no_run(finished, tmp_path):
    jvae = [sys.executable, "-m", "jvae.commands.cli"]
    message = the_line(execute([*jvae, "sample", str(tmp_path)]))
    assert f"{tmp_path / 'config.json'} is missing" in message
    with pytest.raises(UserError, match="is not a run directory: train first"):
        load_run(tmp_path / "nothing", TEXT)
    with pytest.raises(UserError, match="is not a run directory"):
        load_run(finished.train, TEXT)


def test_a_run_without_a_finished_epoch(finished, copied):
    shutil.rmtree(copied / FOLDER)
    with pytest.raises(UserError, match="holds no checkpoint yet: let the training finish"):
        load_run(copied, TEXT)
    (copied / FOLDER).mkdir()
    with pytest.raises(UserError, match="holds no checkpoint yet"):
        load_run(copied, TEXT)


def test_a_run_stopped_in_its_first_epoch(train, tmp_path, monkeypatch):
    """Its only checkpoint is one of mid-epoch, which was never validated."""
    config = tiny_config(train, training__aggressive=False)
    original = loop.Progress.update

    def stop(self, *arguments, **options):
        original(self, *arguments, **options)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(loop.Progress, "update", stop)
    with pytest.raises(loop.Interrupted):
        train_tiny(config, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / FOLDER).iterdir()] == ["8"]
    with pytest.raises(UserError, match="has not finished an epoch"):
        load_run(tmp_path / "run", TEXT)


def test_a_signal_after_the_last_step_stops_before_evaluation(train, tmp_path, monkeypatch):
    original = checkpoint.save

    def stop(*arguments):
        signal.raise_signal(signal.SIGTERM)
        original(*arguments)

    config = tiny_config(train, training__aggressive=False, training__epochs=1)
    with monkeypatch.context() as patch, pytest.raises(loop.Interrupted):
        patch.setattr(checkpoint, "save", stop)
        train_tiny(config, tmp_path / "run")
    assert load_run(tmp_path / "run", TEXT).epoch == 1  # nothing is lost


@pytest.mark.slow
def test_of_equally_good_epochs_the_first_is_the_best_everywhere(train, tmp_path):
    task = dataclasses.replace(TEXT, score=lambda config, metrics: -1.0)
    config = tiny_config(train, training__aggressive=False, training__epochs=2)
    train_tiny(config, tmp_path / "run", task=task)
    steps = [record["step"] for record in read_metrics(tmp_path / "run")]
    opened = checkpoint.open_checkpoints(tmp_path / "run", read_only=True)
    assert opened.best_step() == steps[0] and load_run(tmp_path / "run", TEXT).epoch == 1


# Training.


def plan_of(config, epoch: int):
    """The epoch's batches, made without the run."""
    data = TEXT.load(config)
    needed, widths = data.splits["train"].widths, data.buckets.widths
    return epoch_plan(needed, widths, config.training.batch_size, seed=0, epoch=epoch)


def test_a_loss_that_explodes_names_term_step_and_sentences(train, tmp_path):
    config = tiny_config(
        train,
        training__optimiser="sgd",
        training__learning_rate=1e30,
        training__aggressive=False,
    )
    message = refused(config, tmp_path / "run")
    # The first update is finite, and takes the parameters out of all bounds.
    plan = plan_of(config, 0)
    sentences = plan.index[1][plan.weight[1] > 0].tolist()
    assert f"became non-finite at step 1, training sentences {sentences}; " in message
    assert message.startswith("the ") and message.split()[1] in ("reconstruction", "KL", "gradient")
    assert "no checkpoint exists yet" in message and "training.learning_rate" in message
    with pytest.raises(UserError, match="holds no checkpoint"):
        load_run(tmp_path / "run", TEXT)


@pytest.mark.slow
def test_an_explosion_leaves_the_checkpoint_before_it(train, tmp_path, monkeypatch):
    options = {"training__optimiser": "sgd", "training__aggressive": False}
    workdir = tmp_path / "run"
    train_tiny(tiny_config(train, training__epochs=1, **options), workdir)
    before = load_run(workdir, TEXT)
    config = tiny_config(train, training__epochs=2, **options)
    with monkeypatch.context() as patch:
        patch.setitem(OPTIMISERS, "sgd", lambda: optax.scale(1e30))
        message = refused(config, workdir)
    plan = plan_of(config, 1)
    rows = len(plan.bucket)
    sentences = plan.index[1][plan.weight[1] > 0].tolist()
    assert f"at step {rows + 1}, training sentences {sentences}; " in message
    assert f"the checkpoint of step {rows} is good" in message
    after = load_run(workdir, TEXT)
    assert after.epoch == before.epoch == 1
    for a, b in zip(*map(jax.tree.leaves, (before.params, after.params)), strict=True):
        np.testing.assert_array_equal(a, b)
    train_tiny(config, workdir)
    assert [record["epoch"] for record in read_metrics(workdir)] == [1, 2]


@pytest.mark.slow
def test_one_sentence_and_a_batch_of_eight(tmp_path):
    path = write_sentences(tmp_path / "train.txt", 1)
    config = tiny_config(path, training__epochs=1, training__batch_size=8)
    results, shown = run_tiny(config, tmp_path / "run")
    assert results["examples"] == 1 and np.isfinite(results["elbo"])
    assert "too few to hold out" in shown
    assert json.loads((tmp_path / "run" / "results.json").read_text())["best_epoch"] == 1


@pytest.mark.slow
def test_an_explosion_in_the_last_update_is_not_the_best_epoch(tmp_path):
    path = write_sentences(tmp_path / "train.txt", 3)
    config = tiny_config(
        path,
        training__epochs=1,
        training__optimiser="sgd",
        training__learning_rate=1e38,  # at 1e30 a saturated encoder's ELBO may still be finite
        training__aggressive=False,
    )
    message = refused(config, tmp_path / "run")
    assert "the validation score became non-finite after step 1; no checkpoint" in message
    assert read_metrics(tmp_path / "run") == []


# The disk is full from the first checkpoint on: no room for more than a thousand bytes a file.
FULL_DISK = """
import resource, runpy, sys
from jvae.training import checkpoint

save = checkpoint.save

def save_on_a_full_disk(*arguments):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    save(*arguments)

checkpoint.save = save_on_a_full_disk
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_a_full_disk_in_mid_training(finished, tmp_path):
    workdir = tmp_path / "run"
    python, _, *arguments = command(finished.train, workdir, epochs=1)
    message = the_line(execute([python, "-c", FULL_DISK, *arguments]))
    assert f"in {workdir / FOLDER}: File too large" in message.replace("[Errno 27] ", "")
    assert message.startswith("cannot save checkpoint 1")
    assert "no checkpoint exists yet" in message
    assert lines(workdir) == 1  # of an epoch that was not saved
    train_tiny(tiny_config(finished.train, training__epochs=1), workdir)
    assert [record["epoch"] for record in read_metrics(workdir)] == [1]
    assert load_run(workdir, TEXT).epoch == 1


def test_a_full_disk_while_pictures_are_drawn(capsys, tmp_path):
    def action():
        raise OSError(28, "No space left on device", str(tmp_path / "plots" / "training.png"))

    with pytest.raises(SystemExit) as caught:
        guarded(action)
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith(f"jvae: cannot write {tmp_path}/plots/training.png: No space left")
    assert message.count("\n") == 1


@pytest.mark.slow
def test_the_numbers_are_saved_before_pictures_are_drawn(finished, copied):
    def show(*arguments):
        raise OSError(28, "No space left on device")

    (copied / "results.json").unlink()
    task = dataclasses.replace(TEXT, show=show)
    with pytest.raises(OSError, match="No space left"):
        run(task, finished.config, copied, Console(quiet=True))
    results = json.loads((copied / "results.json").read_text())
    assert results["iw_nll"] == finished.results["iw_nll"]


def test_other_errors_of_the_system_are_not_hidden():
    def action():
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        guarded(action)
