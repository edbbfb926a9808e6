"""Two phases in one run: an autoencoder, then a run that starts from its encoder."""

import json
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from rich.console import Console

from jvae.compare.columns import SECONDS, TO_BEST
from jvae.compare.methods import configure
from jvae.compare.outcomes import with_times
from jvae.compare.run import PHASES, compare
from jvae.components import check
from jvae.errors import UserError
from jvae.runs import run as runner
from jvae.runs.directory import initial_state, load_run
from jvae.runs.phases import RECORD, cost, phase_key
from jvae.runs.task import Phase
from jvae.tasks.text.methods import TEXT_METHODS
from jvae.tasks.text.objective import last_kl_weight
from jvae.training import checkpoint
from jvae.training.logs import read_metrics
from jvae.training.loop import Interrupted
from tests.tiny import TEXT, tiny_config, train_tiny

FOLDER = "pretraining"  # of the first phase, below that of the run


def two_phases(train: Path, **overrides) -> ConfigDict:
    """Two epochs of each, 14 steps an epoch."""
    fields = {"training__pretrain_epochs": 2, "training__aggressive": False}
    fields |= {"objective__loss": "free_bits", "objective__free_bits__target": 1.0}
    return tiny_config(train, **fields | overrides)


def first_phase(config: ConfigDict) -> Phase:
    (phase,) = TEXT.phases(config)
    return phase


def key(config: ConfigDict) -> str:
    return phase_key(TEXT, first_phase(config))


def test_the_first_phase_does_not_refine(train):
    # Refinement raises the ELBO at weight 1: it would pull an autoencoder's posteriors together.
    config = two_phases(train, model__refine="semi_amortised")
    assert first_phase(config).config.model.refine == ""
    assert key(config) == key(two_phases(train))


def run(config: ConfigDict, workdir: Path, stop_at: str = "never", shared=None) -> str:
    """What was shown; stopped by SIGTERM at a line that begins with `stop_at`, or to its end."""
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith(stop_at):
            signal.raise_signal(signal.SIGTERM)

    try:
        train_tiny(config, workdir, say, phases=shared)
    except Interrupted:
        assert stop_at != "never"
    return "\n".join(said)


def shared_with(config: ConfigDict, folder: Path, phases: Path) -> Path:
    """A directory of phases that holds a copy of `folder` as the first phase of `config`."""
    shutil.copytree(folder, phases / key(config))
    return phases


def history(workdir: Path) -> list[dict]:
    return [record | {"seconds": 0.0} for record in read_metrics(workdir)]


def latest(config: ConfigDict, workdir: Path, tokenizer):
    """The state of the latest checkpoint, and the state before the first step."""
    fresh = initial_state(TEXT, config, TEXT.build(config, tokenizer, None), tokenizer)
    return checkpoint.restore(checkpoint.open_checkpoints(workdir, read_only=True), fresh), fresh


def same(first, second) -> bool:
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module", autouse=True)
def light():
    """Each phase is compiled once: a job works on any state of its phase."""
    jobs, make_job = {}, runner.make_job

    def compiled_once(task, config, *arguments):
        key = config.to_json()
        if key not in jobs:
            jobs[key] = make_job(task, config, *arguments)
        return jobs[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "make_job", compiled_once)
        patch.setattr(runner, "fit_batches", lambda config, *arguments: (config, {}))
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
    config, tokenizer = two_phases(train), load_run(whole[0], TEXT).resources
    for settings, folder, score in (
        (first_phase(config).config, whole[0] / FOLDER, lambda record: -record["rec"]),
        (config, whole[0], lambda record: record["elbo"]),
    ):
        best = max(score(record) for record in read_metrics(folder))
        state, _ = latest(settings, folder, tokenizer)
        np.testing.assert_allclose(state.best_score, best, rtol=1e-6)
        manager = checkpoint.open_checkpoints(folder, read_only=True)
        assert manager.metrics(manager.best_step())["score"] == best


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
    assert same(load_run(workdir, TEXT).params, load_run(whole[0], TEXT).params)


@pytest.mark.slow
def test_another_run_takes_the_encoder_and_nothing_else(train, whole, tmp_path, monkeypatch):
    def make_job(task, config, *arguments):
        assert config.training.pretrain_epochs, "the first phase was trained already"
        return None, None, 1

    def kill(*arguments):  # before the first step
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "make_job", make_job)
    monkeypatch.setattr(runner, "train", kill)
    config = two_phases(train, objective__loss="elbo", training__epochs=1)
    autoencoder = load_run(whole[0] / FOLDER, TEXT)
    shared = shared_with(config, whole[0] / FOLDER, tmp_path / "phases")
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run", shared=shared)
    state, fresh = latest(config, tmp_path / "run", autoencoder.resources)
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
    config = two_phases(train, model__hidden_size=9)
    shared = shared_with(config, whole[0] / FOLDER, tmp_path / "phases")
    with pytest.raises(UserError, match=r"holds another run: model.hidden_size was 8 and is now 9"):
        run(config, tmp_path / "run", shared=shared)


def test_what_follows_does_not_change_the_first_phase(train):
    config = two_phases(train)
    for after in (
        {"objective__loss": "elbo", "objective__kl_end": 0.5, "objective__bow_weight": 1.0},
        {"training__aggressive": True, "training__epochs": 7, "evaluation__iw_samples": 9},
        {"model__prior": "mixture"},
    ):
        assert key(two_phases(train, **after)) == key(config)
    for before in (
        {"training__pretrain_epochs": 3},
        {"training__seed": 1},
        {"model__denoise": "drop"},
        {"training__learning_rate": 0.1},
    ):
        assert key(two_phases(train, **before)) != key(config)
    first = first_phase(config).config
    other = first_phase(two_phases(train, training__seed=1)).config
    assert len({0, 1, first.training.seed, other.training.seed}) == 4
    assert last_kl_weight(first) == 0 and last_kl_weight(config) == 1
    config.objective.info_alpha = 1.0
    assert last_kl_weight(config) == 0


def test_methods_with_the_same_pretraining_share_it(train, tmp_path):
    folders = {}

    def failing(task, config, folder, console, *, phases, **shared):
        for phase in task.phases(config):
            folders[folder.parent.name, config.training.seed] = phases / phase_key(task, phase)
        raise UserError("not trained here")

    names = ["pretrain_anneal", "pretrain_free_bits"]
    with pytest.raises(UserError, match="every method failed"):
        compare(
            TEXT,
            tiny_config(train),
            names,
            [0, 1],
            tmp_path / "runs",
            Console(quiet=True),
            run=failing,
        )
    for seed in (0, 1):
        shared = folders["pretrain_anneal", seed]
        assert shared == folders["pretrain_free_bits", seed]
        assert shared.parent == tmp_path / "runs" / PHASES
    assert len({folders[names[0], 0], folders[names[0], 1]}) == 2
    # Each method's time holds the first phase, as if it had been alone.
    outcome = {"results": {"pretrain_seconds": 5.0, "best_epoch": 1}}
    outcome["history"] = [{"epoch": 1, "seconds": 2.0}, {"epoch": 2, "seconds": 3.0}]
    values = {column.name: column.value(with_times(outcome)) for column in (SECONDS, TO_BEST)}
    assert values == {"s": 10.0, "s to best": 7.0}


def test_only_an_encoder_can_be_pretrained(train):
    for mode in ("lm", "ae"):
        config = tiny_config(train, training__aggressive=False, model__mode=mode)
        check(TEXT.groups, config)
        config.training.pretrain_epochs = 3
        says = r"training.pretrain_epochs = 3 needs .*; model.mode = 'vae' gives it"
        with pytest.raises(UserError, match=says):
            check(TEXT.groups, config)
    for name in TEXT_METHODS.methods:
        config = configure(TEXT_METHODS, tiny_config(train), name, 0)
        if config.model.mode == "vae":
            config.training.pretrain_epochs = 3
            check(TEXT.groups, config)
            check(TEXT.groups, first_phase(config).config)
    sphere = {"model__posterior": "vmf", "model__prior": "uniform_sphere"}
    check(TEXT.groups, first_phase(two_phases(train, **sphere)).config)


@pytest.mark.slow
def test_the_record_tells_where_the_encoder_is_from(whole):
    (record,) = json.loads((whole[0] / RECORD).read_text())
    assert record["folder"] == str(whole[0] / FOLDER) and record["name"] == FOLDER
    assert record["best_epoch"] == load_run(whole[0] / FOLDER, TEXT).epoch
    assert f"pretraining  over: the encoder of epoch {record['best_epoch']} is kept" in whole[1]
