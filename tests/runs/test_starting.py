"""A run that starts from another's parameters, and the split on which a run is evaluated."""

import json
import shutil

import jax
import numpy as np
import pytest

from jvae.compare.methods import configure, replaced
from jvae.compare.run import shared_data
from jvae.components import check
from jvae.errors import UserError
from jvae.runs.directory import initial_state, is_finished, load_run
from jvae.runs.phases import load_start, start_from
from jvae.tasks.text.data import make_tokenizer
from jvae.tasks.text.methods import TEXT_METHODS
from jvae.tasks.text.model import phases
from jvae.training.logs import read_metrics
from tests.tiny import TEXT, refused, run_tiny, tiny_config, train_tiny

IWAE = {
    "objective__bound": "iwae",
    "objective__num_samples": 3,
    "objective__gradient": "dreg",
    "objective__kl_schedule": "constant",
    "training__aggressive": False,
}


def same(first, second) -> bool:
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def started(source, train, **overrides):
    """The state of a run that starts from another, the same afresh, and what was said."""
    config = tiny_config(train, **{"training__start_from": str(source)} | overrides)
    check(TEXT.groups, config)
    tokenizer = load_run(source, TEXT).resources
    start = load_start(TEXT, config, TEXT.resources.files(tokenizer))
    fresh = initial_state(TEXT, config, TEXT.build(config, tokenizer, None), tokenizer)
    said: list[str] = []
    return start_from(config, fresh, start, said.append), fresh, said


def test_only_the_parameters_are_taken_and_a_new_prior_starts_afresh(finished):
    source, train, other = finished.workdir, finished.train, load_run(finished.workdir, TEXT)
    state, fresh, said = started(source, train, **IWAE)
    assert same(state.params, other.params) and not same(state.params, fresh.params)
    assert same(state._replace(params=()), fresh._replace(params=()))
    assert said == [f"start  from the parameters of {source}, epoch {other.epoch}"]

    state, fresh, said = started(
        source, train, model__prior="mixture", model__mixture__components=3
    )
    for part, params in state.params.items():
        assert same(params, (fresh if part == "prior" else other).params[part]), part
    assert jax.tree.leaves(state.params["prior"]) and said[0].endswith("; prior afresh")


@pytest.mark.slow
def test_a_bag_of_words_head_comes_and_goes(finished, tmp_path):
    train, other = finished.train, load_run(finished.workdir, TEXT)
    fields = IWAE | {"objective__bound": "elbo", "objective__gradient": "plain"}
    fields |= {"objective__num_samples": 1, "objective__bow_weight": 1.0}
    state, fresh, said = started(finished.workdir, train, **fields)
    assert said[0].endswith("; bag_of_words afresh")
    assert same(state.params["decoder"], other.params["decoder"])
    head = state.params["bag_of_words"]
    assert jax.tree.leaves(head) and same(head, fresh.params["bag_of_words"])
    # And from such a run, with the head and without.
    start = {"training__start_from": str(finished.workdir), "training__epochs": 1}
    train_tiny(tiny_config(train, **fields | start), tmp_path / "run")
    with_head = load_run(tmp_path / "run", TEXT).params
    assert "bag_of_words" in with_head
    state, _, said = started(tmp_path / "run", train, **fields)
    assert same(state.params, with_head) and "afresh" not in said[0]
    state, _, said = started(tmp_path / "run", train)
    without = {name: params for name, params in with_head.items() if name != "bag_of_words"}
    assert same(state.params, without) and "afresh" not in said[0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model__hidden_size": 9}, r"its .*coder has .* of \(.*8.*\), and this run's \(.*9.*\)"),
        ({"model__decoder": "transformer"}, "its model.decoder is 'lstm', and this run's 'transf"),
        ({"model__skip": True}, "its model.skip is False, and this run's True; take its own"),
    ],
)
def test_another_network_is_refused(finished, overrides, message):
    with pytest.raises(UserError, match=message):
        started(finished.workdir, finished.train, **overrides)


def test_a_start_that_is_not_there_or_of_other_words_is_refused(finished, tmp_path):
    nowhere = tiny_config(finished.train, training__start_from=str(tmp_path / "nowhere"))
    message = refused(nowhere, tmp_path / "run")
    assert "training.start_from = " in message and "tokenizer.json is missing" in message
    both = tiny_config(finished.train, training__start_from="runs/a", training__pretrain_epochs=2)
    with pytest.raises(UserError, match="training.start_from = 'runs/a' needs training.pretrain"):
        check(TEXT.groups, both)
    config = tiny_config(finished.train, training__start_from=str(finished.workdir))
    with pytest.raises(UserError, match="its tokenizer.json is not that of this run"):
        load_start(TEXT, config, {"tokenizer.json": "another"})
    config.data.tokenizer = "chars"
    with pytest.raises(UserError, match="its data.tokenizer is 'words', not 'chars'"):
        make_tokenizer(config, None)


def test_the_vocabulary_is_that_of_the_start_whatever_the_text(finished, tmp_path):
    text = tmp_path / "new.txt"
    text.write_text("quite other words here\n" * 30)
    config = tiny_config(text, training__start_from=str(finished.workdir))
    theirs = load_run(finished.workdir, TEXT).resources
    assert make_tokenizer(config, None).to_json() == theirs.to_json()


@pytest.mark.slow
def test_a_run_starts_there_and_goes_on_without_it(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished.workdir, copy)
    # So small a rate leaves the parameters where they start.
    fields = IWAE | {"training__start_from": str(copy), "training__learning_rate": 1e-30}
    config = tiny_config(finished.train, **fields, training__epochs=1)
    started_run = train_tiny(config, tmp_path / "run")
    assert same(started_run.params, load_run(finished.workdir, TEXT).params)
    shutil.rmtree(copy)
    config.training.epochs = 2
    said: list[str] = []
    train_tiny(config, tmp_path / "run", said.append)
    shown = "\n".join(said)
    assert "resumed at step" in shown and "start  from" not in shown
    assert [line["epoch"] for line in read_metrics(tmp_path / "run")] == [1, 2]


def test_methods_and_first_phases_start_from_nowhere_unless_asked_to(finished):
    config = tiny_config(finished.train, training__start_from="runs/a")
    methods = TEXT_METHODS
    assert configure(methods, config, "vae", 0).training.start_from == ""
    data = shared_data(TEXT, configure(methods, config, "lm", 0))()  # of its own words, too
    own = make_tokenizer(tiny_config(finished.train), data.source.corpus)
    assert data.resources.vocab_size == own.vocab_size
    assert "training.start_from" in replaced(methods, config)
    kept = configure(methods, config, "vae", 0, ["training.start_from"])
    assert kept.training.start_from == "runs/a"
    config.training.pretrain_epochs = 1
    assert [phase.config.training.start_from for phase in phases(config)] == [""]


@pytest.mark.slow
def test_the_split_of_evaluation_is_a_matter_of_each_call(finished, jvae, one_device, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished.workdir, run)
    config = finished.config.copy_and_resolve_references()
    config.evaluation.split = "valid"
    before = json.loads((run / "results.json").read_text())
    train_tiny(config, run)  # killed before it is evaluated
    assert not is_finished(run, TEXT, config) and not (run / "results.json").exists()
    results, shown = run_tiny(config, run)  # nothing is trained again
    assert is_finished(run, TEXT, config)
    assert "resumed at step" in shown
    saved = json.loads((run / "results.json").read_text())
    assert (before["split"], saved["split"], results["split"]) == ("test", "valid", "valid")
    validated = read_metrics(run)[before["best_epoch"] - 1]
    assert saved["kl"] == pytest.approx(validated["kl"], rel=1e-5)
    assert before["kl"] != pytest.approx(validated["kl"], rel=1e-5)
    assert saved["shown"]["reconstructions"] != before["shown"]["reconstructions"]
    jvae("evaluate", run, "--split=test")
    assert json.loads((run / "results.json").read_text())["split"] == "valid"
    again = json.loads((run / "results-test.json").read_text())
    assert again["iw_nll"] == pytest.approx(before["iw_nll"], rel=1e-6)
    # A run of before there was such a field was one of the test split.
    older = json.loads((run / "config.json").read_text())
    del older["evaluation"]["split"]
    (run / "config.json").write_text(json.dumps(older))
    assert not is_finished(run, TEXT, config) and is_finished(run, TEXT, finished.config)
