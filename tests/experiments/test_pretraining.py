"""Two phases in one run: an autoencoder, then a run that starts from its encoder."""

import io
import json
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from jvae.errors import UserError
from jvae.experiments import compare as comparison
from jvae.experiments import pretraining, runner
from jvae.experiments.building import make_model
from jvae.experiments.checks import check
from jvae.experiments.methods import METHODS, configure
from jvae.experiments.pretraining import FOLDER, pretraining_config, pretraining_key
from jvae.experiments.setup import initial_state, load_run
from jvae.training import checkpoint
from jvae.training.logs import read_metrics
from jvae.training.loop import Interrupted
from jvae.training.state import TrainState
from tests.experiments.conftest import run_tiny, tiny_config
from tests.experiments.setting import numbers


def two_phases(train: Path, **overrides):
    fields = {"training__pretrain_epochs": 2, "training__aggressive": False}
    fields |= {"objective__loss": "free_bits", "objective__free_bits": 1.0}
    config = tiny_config(train, **fields | overrides)
    config.training.epochs = 2
    return config


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """A run that was left alone."""
    workdir = tmp_path_factory.mktemp("two-phases") / "run"
    results, shown = run_tiny(two_phases(train), workdir)
    return workdir, results, shown


class StopAt(io.StringIO):
    """A terminal that sends SIGTERM when it is shown certain words."""

    def __init__(self, words: str):
        super().__init__()
        self._words = words

    def write(self, text: str) -> int:
        if self._words in text:
            signal.raise_signal(signal.SIGTERM)
        return super().write(text)


def latest(config, workdir: Path) -> TrainState:
    """The state of a run directory's latest checkpoint."""
    model = make_model(config, load_run(workdir / FOLDER).tokenizer.vocab_size)
    manager = checkpoint.open_checkpoints(workdir, read_only=True)
    return checkpoint.restore(manager, initial_state(config, model))


def assert_same(first, second) -> None:
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


def differ(first, second) -> bool:
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return any(np.any(np.asarray(a) != np.asarray(b)) for a, b in pairs)


def history(workdir: Path) -> list[dict]:
    return [record | {"seconds": 0.0} for record in read_metrics(workdir)]


def test_the_first_phase_is_an_autoencoder_chosen_by_its_reconstruction(whole):
    workdir, results, shown = whole
    first, second = read_metrics(workdir / FOLDER), read_metrics(workdir)
    assert [r["kl_weight"] for r in first] == [0.0, 0.0]
    assert all(r["kl"] > 0 for r in first)  # z is drawn
    assert [r["epoch"] for r in second] == [1, 2] and second[0]["kl_weight"] > 0
    best = min(first, key=lambda record: record["rec"])["epoch"]
    assert load_run(workdir / FOLDER).epoch == best
    assert results["pretrain_seconds"] == sum(r["seconds"] for r in first)
    assert json.loads((workdir / "pretraining.json").read_text())["best_epoch"] == best
    lines = shown.splitlines()
    assert f"pretraining  over: the encoder of epoch {best} is kept" in shown
    marked = [n for n, line in enumerate(lines) if line.startswith("pretraining  ")]
    assert 0 < marked[0] and marked == list(range(marked[0], marked[-1] + 1))
    assert any(line.startswith("pretraining  epoch 2: valid") for line in lines)
    assert any(line.startswith("epoch 2: valid") for line in lines[marked[-1] :])


def test_an_autoencoder_is_not_chosen_by_the_elbo_at_full_weight():
    from jvae.experiments.building import never_weighs_kl
    from jvae.experiments.config import default_config

    config = default_config()
    assert not never_weighs_kl(config)
    config.training.pretrain_epochs = 3
    assert never_weighs_kl(pretraining_config(config))


def test_a_run_stopped_in_either_phase_ends_with_the_same_numbers(
    train, whole, tmp_path, monkeypatch
):
    workdir, config = tmp_path / "run", two_phases(train)
    with pytest.raises(Interrupted):
        runner.run(config, workdir, Console(file=StopAt("pretraining  epoch 2/2"), width=120))
    assert len(read_metrics(workdir / FOLDER)) == 1 and not read_metrics(workdir)
    step = int(latest(pretraining_config(config), workdir / FOLDER).step)
    assert 0 < step % 14 < 14  # in the middle of its second epoch

    terminal = StopAt("\nepoch 1/2")
    with pytest.raises(Interrupted):
        runner.run(config, workdir, Console(file=terminal, width=120))
