"""Two phases in one run: an autoencoder, then a run that starts from its encoder."""

import io
import json
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from rich.console import Console

from jvae.errors import UserError
from jvae.experiments import compare as comparison
from jvae.experiments import pretraining, runner
from jvae.experiments.building import last_kl_weight, make_model
from jvae.experiments.checks import check
from jvae.experiments.compare_report import COLUMNS
from jvae.experiments.memory import FittedEvaluation
from jvae.experiments.methods import METHODS, configure
from jvae.experiments.pretraining import FOLDER, cost, pretraining_config, pretraining_key
from jvae.experiments.setup import initial_state, load_run
from jvae.training import checkpoint
from jvae.training.logs import read_metrics
from jvae.training.loop import Interrupted
from tests.experiments.conftest import tiny_config


def two_phases(train: Path, **overrides) -> ConfigDict:
    """Two epochs of each, 14 steps an epoch."""
    fields = {"training__pretrain_epochs": 2, "training__aggressive": False}
    fields |= {"objective__loss": "free_bits", "objective__free_bits": 1.0}
    return tiny_config(train, **fields | overrides)


def test_the_first_phase_does_not_refine(train):
    # Refinement raises the ELBO at weight 1: it would pull an autoencoder's posteriors together.
    config = two_phases(train, model__refine_steps=3)
    assert pretraining_config(config).model.refine_steps == 0
    assert pretraining_key(config) == pretraining_key(two_phases(train))


class StopAt(io.StringIO):
    """A terminal that sends SIGTERM when it is shown a line that begins with certain words."""

    def __init__(self, words: str):
        super().__init__()
        self._words = words

    def write(self, text: str) -> int:
        if any(line.startswith(self._words) for line in text.splitlines()):
            signal.raise_signal(signal.SIGTERM)
        return super().write(text)


def run(config: ConfigDict, workdir: Path, stop_at: str = "never", shared=None) -> str:
    """What was shown; stopped in mid-epoch or to its end."""
    terminal = StopAt(stop_at)
    try:
        runner.run(config, workdir, Console(file=terminal, width=120), pretraining=shared)
    except Interrupted:
        assert stop_at != "never"
    return terminal.getvalue()


def history(workdir: Path) -> list[dict]:
    return [record | {"seconds": 0.0} for record in read_metrics(workdir)]


def latest(config: ConfigDict, workdir: Path, vocab_size: int):
    """The state of the latest checkpoint, and the state before the first step."""
    fresh = initial_state(config, make_model(config, vocab_size))
    return checkpoint.restore(checkpoint.open_checkpoints(workdir, read_only=True), fresh), fresh


def same(first, second) -> bool:
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module", autouse=True)
def light():
    """No evaluation, and each phase is compiled once: a job works on any state of its phase."""
    jobs, make_job = {}, runner.make_job

    def compiled_once(config, *arguments):
        key = config.to_json()
        if key not in jobs:
            jobs[key] = make_job(config, *arguments)
        return jobs[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "make_job", compiled_once)
        patch.setattr(pretraining, "make_job", compiled_once)
        patch.setattr(pretraining, "fit_batches", lambda config, *arguments: (config, {}))
        patch.setattr(
            runner, "fit_evaluation", lambda config, *arguments: FittedEvaluation(config, 1, {})
        )
        patch.setattr(runner, "evaluate_run", lambda trained, *arguments: cost(trained.workdir))
        yield


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory) -> tuple[Path, str]:
    """A run that was left alone, and what it showed."""
    workdir = tmp_path_factory.mktemp("two-phases") / "run"
    return workdir, run(two_phases(train), workdir)


@pytest.mark.slow
def test_the_first_phase_is_an_autoencoder_with_noise(whole):
    workdir, shown = whole
    first, second = read_metrics(workdir / FOLDER), read_metrics(workdir)
    assert [r["kl_weight"] for r in first] == [0.0, 0.0]
    assert first[1]["kl"] > first[0]["kl"] > 0
    assert [r["epoch"] for r in second] == [1, 2] and second[0]["kl_weight"] > 0
    # Each line tells its phase.
    lines = shown.splitlines()
    marked = [number for number, line in enumerate(lines) if line.startswith("pretraining  ")]
    assert marked == list(range(marked[0], marked[-1] + 1))
    assert any(line.startswith("pretraining  epoch 2: valid") for line in lines)
    assert any(line.startswith("epoch 2: valid") for line in lines[marked[-1] :])


@pytest.mark.slow
def test_its_epochs_are_judged_by_reconstruction_and_those_of_the_second_by_the_elbo(train, whole):
    config, size = two_phases(train), load_run(whole[0]).tokenizer.vocab_size
    for settings, folder, figure in (
        (pretraining_config(config), whole[0] / FOLDER, lambda record: -record["rec"]),
        (config, whole[0], lambda record: record["elbo"]),
    ):
        best = max(figure(record) for record in read_metrics(folder))
        state, _ = latest(settings, folder, size)
        np.testing.assert_allclose(state.best_elbo, best, rtol=1e-6)
        manager = checkpoint.open_checkpoints(folder, read_only=True)
        assert manager.metrics(manager.best_step())["elbo"] == best


@pytest.mark.slow
def test_a_run_stopped_in_both_phases_ends_as_one_left_alone(train, whole, tmp_path):
    workdir, config = tmp_path / "run", two_phases(train)
    run(config, workdir, "pretraining  epoch 2/2")
    assert len(read_metrics(workdir / FOLDER)) == 1 and not read_metrics(workdir)
    assert "pretraining  resumed at step 22, 1 epochs" in run(config, workdir, "epoch 1/2")
    assert history(workdir / FOLDER) == history(whole[0] / FOLDER)
    # The second phase does without the first.
    shutil.rmtree(workdir / FOLDER)
    assert "\nresumed at step 8, 0 epochs" in run(config, workdir)
    assert not (workdir / FOLDER).exists()
    assert len(history(workdir)) == 2 and history(workdir) == history(whole[0])
    assert same(load_run(workdir).params, load_run(whole[0]).params)


@pytest.mark.slow
def test_another_run_takes_the_encoder_and_nothing_else(train, whole, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("it was trained already")

    def kill(*arguments):  # before the first step
        raise KeyboardInterrupt

    monkeypatch.setattr(pretraining, "make_job", refuse)
    monkeypatch.setattr(runner, "make_job", lambda *arguments: (None, None, 1))
    monkeypatch.setattr(runner, "train", kill)
    config = two_phases(train, objective__loss="elbo", training__epochs=1)
    autoencoder = load_run(whole[0] / FOLDER)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run", shared=whole[0] / FOLDER)
    state, fresh = latest(config, tmp_path / "run", autoencoder.tokenizer.vocab_size)
    assert same(state.params["encoder"], autoencoder.params["encoder"])
    assert not same(state.params["encoder"], fresh.params["encoder"])
    assert not same(state.params["decoder"], autoencoder.params["decoder"])
    rest = state._replace(params=state.params | {"encoder": fresh.params["encoder"]})
    assert same(rest, fresh)
    assert cost(tmp_path / "run") == cost(whole[0])
    seconds = sum(record["seconds"] for record in read_metrics(whole[0] / FOLDER))
    assert cost(whole[0]) == {"pretrain_seconds": seconds}
    assert cost(tmp_path) == {}
    # Killed there it needs nothing of the first phase either.
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run", shared=tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


@pytest.mark.slow
def test_a_folder_of_another_pretraining_is_refused(train, whole, tmp_path):
    with pytest.raises(UserError, match=r"holds another run: model.hidden_size was 8 and is now 9"):
        run(two_phases(train, model__hidden_size=9), tmp_path / "run", shared=whole[0] / FOLDER)


def test_what_follows_does_not_change_the_first_phase(train):
    config = two_phases(train)
    for after in (
        {"objective__loss": "elbo", "objective__kl_end": 0.5, "objective__bow_weight": 1.0},
        {"training__aggressive": True, "training__epochs": 7, "evaluation__iw_samples": 9},
        {"model__prior": "mixture"},
    ):
        assert pretraining_key(two_phases(train, **after)) == pretraining_key(config)
    for before in (
        {"training__pretrain_epochs": 3},
        {"training__seed": 1},
        {"model__denoise": "drop"},
        {"training__learning_rate": 0.1},
    ):
        assert pretraining_key(two_phases(train, **before)) != pretraining_key(config)
    first = pretraining_config(config)
    other = pretraining_config(two_phases(train, training__seed=1))
    assert len({0, 1, first.training.seed, other.training.seed}) == 4
    assert last_kl_weight(first) == 0 and last_kl_weight(config) == 1
    config.objective.info_alpha = 1.0
    assert last_kl_weight(config) == 0


def test_methods_with_the_same_pretraining_share_it(train, tmp_path, monkeypatch):
    folders = {}

    def failing(config, folder, console, *, pretraining, **text):
        folders[folder.parent.name, config.training.seed] = pretraining
        raise UserError("not trained here")

    monkeypatch.setattr(runner, "run", failing)
    names = ["pretrain_anneal", "pretrain_free_bits"]
    with pytest.raises(UserError, match="every method failed"):
        comparison.compare(
            tiny_config(train), names, [0, 1], tmp_path / "runs", Console(file=io.StringIO())
        )
    for seed in (0, 1):
        shared = folders["pretrain_anneal", seed]
        assert shared == folders["pretrain_free_bits", seed]
        assert shared.parent == tmp_path / "runs" / FOLDER
    assert len({folders[names[0], 0], folders[names[0], 1]}) == 2
    # Each method's time holds the first phase, as if it had been alone.
    outcome = {"results": {"pretrain_seconds": 5.0, "best_epoch": 1}}
    outcome["history"] = [{"epoch": 1, "seconds": 2.0}, {"epoch": 2, "seconds": 3.0}]
    values = {column.name: column.value(outcome) for column in COLUMNS[-2:]}
    assert values == {"s": 10.0, "s to best": 7.0}


def test_only_an_encoder_can_be_pretrained(train):
    for mode in ("lm", "ae"):
        config = tiny_config(train, training__aggressive=False, model__mode=mode)
        check(config)
        config.training.pretrain_epochs = 3
        with pytest.raises(UserError, match=r"training.pretrain_epochs = 3 needs model.mode"):
            check(config)
    for name in METHODS:
        config = configure(tiny_config(train), name, 0)
        if config.model.mode == "vae":
            config.training.pretrain_epochs = 3
            check(config)
            check(pretraining_config(config))
    sphere = {"model__posterior": "vmf", "model__prior": "uniform_sphere"}
    check(pretraining_config(two_phases(train, **sphere)))


@pytest.mark.slow
def test_the_record_tells_where_the_encoder_is_from(whole):
    record = json.loads((whole[0] / "pretraining.json").read_text())
    assert record["folder"] == str(whole[0] / FOLDER)
    assert record["best_epoch"] == load_run(whole[0] / FOLDER).epoch
