"""Whatever is wrong with the input ends in one line that says what and where, and exit code 2."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from jvae.data import ptb
from jvae.data.batching import epoch_plan
from jvae.errors import UserError
from jvae.experiments import ptb as ptb_experiment
from jvae.experiments import runner
from jvae.experiments.setup import encode_corpus, load_data_corpus, load_run, make_tokenizer
from jvae.training.checkpoint import FOLDER
from jvae.training.logs import read_metrics
from tests.experiments.conftest import run_tiny, tiny_config
from tests.experiments.setting import command, execute, write_sentences


def the_line(done: subprocess.CompletedProcess) -> str:
    """What a failed command says."""
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stderr.startswith("jvae: ") and done.stderr.endswith("\n"), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("jvae: ").strip()


def text(*arguments: str, **options) -> str:
    return the_line(execute([sys.executable, "-m", "jvae.experiments.text", *arguments], **options))


def refused(config, workdir: Path) -> str:
    """The message of a run that must fail."""
    with pytest.raises(UserError) as caught:
        run_tiny(config, workdir)
    message = str(caught.value)
    assert "\n" not in message and message
    return message


# The command line.


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config.training.sed=3"], ["'sed'", "'seed'"]),
        (["--config.trainin.seed=3"], ["'trainin'", "'training'"]),
        (["--trian=x.txt"], ["trian", "train"]),
        (["--config.training.seed=x"], ["config.training.seed=x", "'x'"]),
        (["--config=/nowhere/my.py"], ["/nowhere/my.py", "No such file"]),
        (["--config=FILE"], ["config.py, line 3: invalid syntax"]),
        (["train.txt"], ["'train.txt'", "--"]),
        (["--train=/nowhere/my.txt", "--workdir=DIR"], ["/nowhere/my.txt: no such file"]),
        ([], ["--train=FILE"]),
    ],
)
def test_a_wrong_command_line(arguments, says, tmp_path):
    file = tmp_path / "config.py"
    file.write_text("from jvae.experiments import text\n\ndef get_config(:\n    return 1\n")
    names = {"FILE": str(file), "DIR": str(tmp_path / "run")}
    arguments = [a.replace("FILE", names["FILE"]).replace("DIR", names["DIR"]) for a in arguments]
    message = text(*arguments, cwd=tmp_path)
    for part in says:
        assert part in message


HEAD = "from jvae.experiments import text\n\ndef get_config():\n    config = text.get_config()\n"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (HEAD + "    config.training.sed = 3\n    return config\n", "line 5: .*'sed'.*'seed'"),
        (HEAD + "    config.model.update({'latent_siz': 3})\n", "line 5: .*'latent_siz'"),
        (HEAD + "    config.training.epochs = 'many'\n", "line 5: .*epochs"),
        (HEAD + "    return confg\n", "line 5: name 'confg' is not defined"),
        (HEAD, "returns a ConfigDict"),
        ("x = 1\n", "needs a function get_config"),
        ("import no_such_module\n", "line 1: No module named 'no_such_module'"),
        ("raise ValueError('two\\nlines')\n", "line 1: two lines"),
        (
            "from ml_collections import ConfigDict\ndef get_config():\n"
            "    return ConfigDict({'data': {}})\n",
            "lacks data",
        ),
    ],
)
def test_a_wrong_configuration_file(source, says, tmp_path):
    from jvae.experiments.command import _check_config_file

    file = tmp_path / "config.py"
    file.write_text(source)
    with pytest.raises(UserError, match=says) as caught:
        _check_config_file(str(file))
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


# The data.


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        ("directory", "is a directory"),
        (b"", "empty file"),
        (b"\n \n\n", "no sentence in it, only 3 blank lines"),
        (b"a cat\nthe dog \xe9\n", "not UTF-8 (byte 0xe9) in line 2, byte offset 14"),
        (b"a cat\n\x7fELF\0\n", "binary file (NUL byte) in line 2, byte offset 10"),
    ],
)
@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_wrong_file(content, says, split, train, tmp_path):
    path = tmp_path / "my.txt"
    if content == "directory":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    config = tiny_config(train, **{f"data__{split}": str(path)})
    message = refused(config, tmp_path / "run")
    assert str(path) in message and says in message
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_limit_that_drops_everything(train, tmp_path):
    config = tiny_config(train, data__max_length=1, data__too_long="drop")
    message = refused(config, tmp_path / "run")
    assert "split train: none of 54 sentences is left" in message and "data.max_length=1" in message


def test_unknown_names_are_refused_before_anything_is_written(train, tmp_path):
    config = tiny_config(train, training__optimiser="adma")
    message = refused(config, tmp_path / "run")
    assert message.startswith("training.optimiser = 'adma'") and "'adam'" in message
    assert not (tmp_path / "run").exists()


def test_a_run_directory_that_cannot_be_written(train, tmp_path):
    (tmp_path / "file").write_text("")
    message = refused(tiny_config(train), tmp_path / "file" / "run")
    assert str(tmp_path / "file" / "run") in message and "Not a directory" in message


def test_more_devices_than_there_are(train, tmp_path):
    message = refused(tiny_config(train, training__num_devices=64), tmp_path / "run")
    assert "training.num_devices asks for 64 devices but this machine has 4" in message


def test_ptb_without_files_and_network(tmp_path, monkeypatch):
    monkeypatch.setenv("JVAE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("JVAE_DATA_DIR", str(tmp_path))
    # Nobody listens there.
    monkeypatch.setattr(ptb, "MIRRORS", ("http://127.0.0.1:9/one/{split}",) * 2)
    message = refused(ptb_experiment.get_config(), tmp_path / "run")
    assert "corpus ptb: cannot be downloaded" in message and "JVAE_DATA_DIR" in message
    config = ptb_experiment.get_config()
    config.data.dir = str(tmp_path)
    message = refused(config, tmp_path / "run")
    assert f"no ptb.train.txt in {tmp_path}" in message


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


def test_another_vocabulary(finished, copied):
    path = copied / "tokenizer.json"
    path.write_text(path.read_text().replace('"bird"', '"fish"'))
    message = refused(finished.config, copied)
    assert f"{path} holds another vocabulary" in message


# Damaged run directories.


@pytest.mark.parametrize("damage", ["", "{", "\x00", '{"config": 3}', "[1]", '{"training": 3}'])
def test_a_damaged_config(copied, damage):
    (copied / "config.json").write_text(damage)
    with pytest.raises(UserError) as caught:
        load_run(copied)
    assert f"{copied / 'config.json'} is damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff", b"{}"])
def test_a_damaged_tokenizer(finished, copied, damage):
    (copied / "tokenizer.json").write_bytes(damage)
    with pytest.raises(UserError) as caught:
        load_run(copied)
    assert str(copied / "tokenizer.json") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(copied / "tokenizer.json") in refused(finished.config, copied)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_file(copied, name):
    (copied / name).unlink()
    with pytest.raises(UserError, match=f"{copied / name} is missing"):
        load_run(copied)


def test_a_damaged_checkpoint(finished, copied):
    for path in (copied / FOLDER).rglob("*"):
        if path.is_file() and "state" in path.parts:
            os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UserError) as caught:
        load_run(copied)
    assert str(copied / FOLDER) in str(caught.value) and "is damaged" in str(caught.value)
    assert "is damaged" in refused(finished.config, copied)


def test_a_damaged_log(finished, copied):
    path = copied / "metrics.jsonl"
    path.write_text("{\n" + path.read_text())
    config = tiny_config(finished.train, training__epochs=3)
    assert f"{path} is damaged in line 1" in refused(config, copied)


def test_commands_on_a_folder_that_is_no_run(finished, tmp_path):
    jvae = [sys.executable, "-m", "jvae.experiments.cli"]
    message = the_line(execute([*jvae, "sample", str(tmp_path)]))
    assert f"{tmp_path / 'config.json'} is missing" in message
    with pytest.raises(UserError, match="is not a run directory: train first"):
        load_run(tmp_path / "nothing")
    with pytest.raises(UserError, match="is not a run directory"):
        load_run(finished.train)


def test_a_run_without_a_finished_epoch(finished, copied):
    shutil.rmtree(copied / FOLDER)
    with pytest.raises(UserError, match="holds no checkpoint yet: let the training finish"):
        load_run(copied)
    (copied / FOLDER).mkdir()
    with pytest.raises(UserError, match="holds no checkpoint yet"):
        load_run(copied)


def test_a_run_stopped_in_its_first_epoch(train, tmp_path, monkeypatch):
    """Its only checkpoint is one of mid-epoch, which was never validated."""
    import signal

    from jvae.training import loop

    config = tiny_config(train, training__aggressive=False)
    original = loop.Progress.update

    def stop(self, *arguments, **options):
        original(self, *arguments, **options)
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(loop.Interrupted):
        patch.setattr(loop.Progress, "update", stop)
        run_tiny(config, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / FOLDER).iterdir()] == ["8"]
    with pytest.raises(UserError, match="has not finished an epoch"):
        load_run(tmp_path / "run")


# Training.


def plan_of(config, epoch: int):
    """The epoch's batches, found without the runner."""
    corpus = load_data_corpus(config)
    data = encode_corpus(config, corpus, make_tokenizer(config, corpus))
    lengths, widths = data.splits["train"].lengths, data.buckets.widths
    return epoch_plan(lengths, widths, config.training.batch_size, seed=0, epoch=epoch)


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
        load_run(tmp_path / "run")


def test_an_explosion_leaves_the_checkpoint_before_it(train, tmp_path, monkeypatch):
    options = {"training__optimiser": "sgd", "training__aggressive": False}
    monkeypatch.setattr(runner, "evaluate_run", lambda *arguments: {})
    workdir = tmp_path / "run"
    run_tiny(tiny_config(train, training__epochs=1, **options), workdir)
    before = load_run(workdir)
    config = tiny_config(train, training__epochs=2, **options)
    with monkeypatch.context() as patch:
        patch.setattr(runner, "make_optimisers", lambda config: (optax.sgd(1e30), optax.sgd(1.0)))
        message = refused(config, workdir)
    plan = plan_of(config, 1)
    rows = len(plan.bucket)
    sentences = plan.index[1][plan.weight[1] > 0].tolist()
    assert f"at step {rows + 1}, training sentences {sentences}; " in message
    assert f"the checkpoint of step {rows} is good" in message
    after = load_run(workdir)
    assert after.epoch == before.epoch == 1
    for a, b in zip(*map(jax.tree.leaves, (before.params, after.params)), strict=True):
        np.testing.assert_array_equal(a, b)
    run_tiny(config, workdir)
    assert [record["epoch"] for record in read_metrics(workdir)] == [1, 2]


@pytest.mark.parametrize("number", [1, 2])
def test_fewer_sentences_than_a_batch(number, tmp_path):
    path = write_sentences(tmp_path / "train.txt", number)
    config = tiny_config(
        path, training__epochs=1, training__batch_size=8, training__aggressive=number == 1
    )
    results, shown = run_tiny(config, tmp_path / "run")
    assert results["sentences"] == number and np.isfinite(results["elbo"])
    assert "too few to hold out" in shown
    assert json.loads((tmp_path / "run" / "results.json").read_text())["best_epoch"] == 1


def test_an_explosion_in_the_last_update_is_not_the_best_epoch(tmp_path):
    path = write_sentences(tmp_path / "train.txt", 3)
    config = tiny_config(
        path,
        training__epochs=1,
        training__optimiser="sgd",
        training__learning_rate=1e30,
        training__aggressive=False,
    )
    message = refused(config, tmp_path / "run")
    assert "the validation ELBO became non-finite after step 1; no checkpoint" in message
    assert read_metrics(tmp_path / "run") == []


FULL_DISK = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_full_disk_in_mid_training(train, tmp_path):
    # A checkpoint larger than all other files of the run.
    arguments = command(
        train,
        tmp_path / "run",
        "--config.model.embed_size=96",
        "--config.model.hidden_size=96",
        "--config.data.max_buckets=1",
        "--config.training.aggressive=False",
        "--config.training.num_devices=1",
        epochs=1,
    )
    full = [sys.executable, "-c", FULL_DISK, *arguments]
    message = the_line(execute(full, env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}))
    assert f"in {tmp_path / 'run' / FOLDER}: File too large" in message.replace("[Errno 27] ", "")
    assert message.startswith("cannot save checkpoint 1")
    assert "no checkpoint exists yet" in message
    again = execute(arguments)
    assert again.returncode == 0, again.stderr
    assert [record["epoch"] for record in read_metrics(tmp_path / "run")] == [1]
    assert load_run(tmp_path / "run").epoch == 1
