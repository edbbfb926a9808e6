"""Several methods, one report."""

import io
import json
import runpy
import signal
import sys
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from rich.console import Console

from jvae.compare.columns import cell
from jvae.compare.methods import bounds, choose, configure, method
from jvae.compare.run import compare as compare_all
from jvae.components import check, default_config
from jvae.configs import flat
from jvae.errors import UserError
from jvae.runs.directory import CONFIG, RESULTS, is_finished, save_config, save_results
from jvae.runs.run import load_data, make_parallel, train_run
from jvae.runs.task import Method
from jvae.training import loop
from tests.compare.setting import FORM, advise, outcome
from tests.tiny import TEXT, execute, the_line, tiny_config

METHODS = TEXT.methods
FLOOR, CEILING = bounds(METHODS, "vae")
configured = partial(configure, METHODS)


def compare(config, names, workdir, **options):
    shown = io.StringIO()
    console = Console(file=shown, width=150)
    outcomes = compare_all(TEXT, config, names, [0], workdir, console, **options)
    return outcomes, shown.getvalue()


def with_broken():
    """A method whose first step leaves the finite numbers, beside the others."""
    broken = Method("a method that fails", {"training.learning_rate": 1e30})
    return FORM._replace(methods=METHODS._replace(methods={**METHODS.methods, "broken": broken}))


@pytest.mark.slow
def test_a_comparison_trains_reads_and_reports(train, tmp_path):
    config = tiny_config(train, training__epochs=1, training__aggressive=False)
    form = with_broken()
    form = form._replace(
        methods=form.methods._replace(bounds=lambda name: (FLOOR, CEILING)),
        conclude=lambda outcomes: [advise(outcomes, methods=form.methods)],
    )
    outcomes, shown = compare(config, ["broken", "vae"], tmp_path / "runs", form=form)
    assert [o["method"] for o in outcomes] == ["lm", "ae", "broken", "vae"]
    assert [o["method"] for o in outcomes if "error" in o] == ["broken"]
    assert shown.startswith("left out of the base, as every method starts from a plain VAE: obj")
    assert "broken, seed 0: failed: the " in shown and "non-finite" in shown
    of = {o["method"]: o["results"] for o in outcomes if "results" in o}
    assert "kl" not in of["ae"] and of["lm"]["kl"] == 0 and of["vae"]["kl"] > 0

    page = (tmp_path / "runs" / "report.html").read_text()
    assert "<script" not in page and "http" not in page  # it needs nothing else
    assert page.count("data:image/png;base64,") >= 3
    for name in ("lm", "ae", "vae"):
        assert f"<td>{name}</td>" in page
    stored = json.loads((tmp_path / "runs" / "comparison.json").read_text())
    assert stored["runs"][3]["results"]["iw_nll"] == of["vae"]["iw_nll"]
    (words,) = stored["conclusions"]
    assert words in page.replace("&#x27;", "'")

    # The same command again reads what is there, and trains what failed only.
    trained = []

    def run(task, config, folder, console, **given):
        trained.append(folder.parent.name)
        raise UserError("not again")

    again, _ = compare(config, ["broken", "vae"], tmp_path / "runs", form=form, run=run)
    assert trained == ["broken"]
    assert again[3]["results"] == outcomes[3]["results"]


def training_only(task, config, folder, console, *, source, resources, phases):
    """A runner without evaluation, whose functions are half of what is compiled."""
    data = load_data(task, config, folder, folder, source, resources)
    say, parallel = partial(console.print, soft_wrap=True), make_parallel(task, config)
    train_run(task, config, folder, folder, data, parallel, say, phases=phases, evaluated=False)
    save_results(folder, outcome("")["results"], RESULTS)


@pytest.mark.slow
def test_a_comparison_that_is_stopped_goes_on_within_its_method(train, tmp_path, monkeypatch):
    original, calls = loop.Progress.update, count(1)

    def stop(self, *arguments, **options):
        original(self, *arguments, **options)
        if next(calls) == 3:  # of two an epoch
            signal.raise_signal(signal.SIGTERM)

    config = tiny_config(train, training__epochs=2, training__aggressive=False)
    first, second = (tmp_path / name / "seed-0" for name in ("vae", "anneal"))
    first.mkdir(parents=True)  # finished
    save_config(first, TEXT, configured(config, "vae", 0))
    save_results(first, outcome("vae")["results"], RESULTS)
    monkeypatch.setattr(loop.Progress, "update", stop)
    alone = FORM._replace(methods=METHODS._replace(bounds=lambda name: ()))
    options = {"form": alone, "run": training_only}
    with pytest.raises(loop.Interrupted):
        compare(config, ["vae", "anneal"], tmp_path, **options)
    assert not (second / RESULTS).exists()
    runs, shown = compare(config, ["vae", "anneal"], tmp_path, **options)
    assert "vae, seed 0: no remedy" not in shown and not (first / "output.txt").exists()
    assert "resumed at step 22, 1 epochs finished" in (second / "output.txt").read_text()
    assert [[line["step"] for line in run["history"]] for run in runs] == [[], [14, 28]]
    assert (tmp_path / "report.html").exists()


def test_each_method_is_a_sound_configuration(train):
    base = tiny_config(train, training__aggressive=False)
    for name in METHODS.methods:
        config = configured(base, name, 7)
        check(TEXT.groups, config)
        assert config.training.seed == 7
        differs = config.to_dict() != configured(base, "vae", 7).to_dict()
        assert differs == (name != "vae")


PAPERS = sorted((Path(__file__).parents[2] / "experiments/configs/papers").glob("*.py"))
# Where methods may differ with the base: its data, sizes and budget.
OF_BASE = {
    "model": "latent_size embed_size hidden_size dropout_in dropout_out init_scale",
    "objective": "",
    "training": "epochs batch_size optimiser learning_rate inner_learning_rate clip_norm "
    "patience warm_epochs",
    "evaluation": "iw_samples",
}


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_a_method_means_the_same_whatever_recipe_it_starts_from(path):
    recipe = runpy.run_path(str(path))["get_config"]()
    for name in METHODS.methods:
        config, plain = (
            configured(base, name, 3) for base in (recipe, default_config(TEXT.groups))
        )
        check(TEXT.groups, config)
        for group, free in OF_BASE.items():
            found, expected = (dict(flat(one[group])) for one in (config, plain))
            differs = {field for field in expected if found[field] != expected[field]}
            assert differs <= set(free.split()), (name, group)
            for field in free.split():
                assert found[field] == recipe[group][field], (name, field)
        assert config.data == recipe.data


def test_fields_given_beside_a_base_are_kept_where_they_mean_something(train):
    base = tiny_config(
        train,
        model__decoder="cnn",
        model__posterior="vmf",
        model__prior="uniform_sphere",
        model__word_dropout=0.3,
        objective__kl_end=0.7,
        objective__bow_weight=0.4,
    )
    given = ["model.posterior", "model.prior", "model.word_dropout", "objective.bow_weight"]
    for name in ("vae", "anneal", FLOOR, CEILING):
        config = configured(base, name, 0, given)
        check(TEXT.groups, config)
        with_z = name not in (FLOOR, CEILING)
        assert (config.model.posterior == "vmf", config.objective.bow_weight) == (
            with_z,
            0.4 * with_z,
        )
        assert (config.model.word_dropout, config.model.decoder) == (0.3, "lstm")
        assert config.objective.kl_end == 1
    assert configured(base, "word_dropout", 0, given).model.word_dropout == 0.5
    assert configured(base, "beta", 0, given).objective.kl_end == 0.5
    assert configured(base, "vae", 0).model.posterior == "diagonal"
    assert configured(base, "vae", 0, ["model.decoder"]).model.decoder == "cnn"


def test_unknown_methods_are_refused_before_anything_is_trained(train, tmp_path):
    with pytest.raises(UserError, match="'agressive' is unknown: did you mean 'aggressive'"):
        compare(tiny_config(train), ["agressive"], tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_methods_combine_where_they_agree(train, tmp_path):
    base = tiny_config(train)
    both, expected = (configured(base, name, 3) for name in ("pretrain_free_bits+bn", "free_bits"))
    expected.training.pretrain_epochs = 10
    expected.model.posterior_map = "batch_norm"
    check(TEXT.groups, both)
    assert both == expected and both == configured(base, "bn+pretrain_free_bits", 3)
    assert METHODS.methods["bn"].fields == {"model.posterior_map": "batch_norm"}  # not written into
    assert (
        method(METHODS, "bn+anneal").about
        == f"{METHODS.methods['bn'].about}; {METHODS.methods['anneal'].about}"
    )
    names = ["lm", "ae", "lm_cnn", "ae_cnn", "cnn+aggressive", "bn"]
    assert choose(METHODS, ["cnn+aggressive", "bn", "cnn+aggressive"]) == names

    for name, says in {
        "anneal+cyclical": "objective.kl_schedule cannot be both 'linear' and 'cyclical': leave",
        "lm+bn": "model.posterior_map cannot be both 'none' and 'batch_norm'",
        "bn+agressive": "'agressive' is unknown: did you mean 'aggressive'",
        "iwae+bow": r"method iwae\+bow: objective.bound = 'iwae' needs .*objective.bow_weight = 0",
    }.items():
        with pytest.raises(UserError, match=says):
            compare(base, ["vae", name], tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_comparison_is_made_by_one_process(train, tmp_path):
    config = tiny_config(train, training__coordinator="here:1", training__num_processes=2)
    with pytest.raises(
        UserError, match="'here:1': a comparison is made by one process; leave"
    ) as e:
        compare(config, ["vae"], tmp_path / "runs")
    assert "\n" not in str(e.value) and not (tmp_path / "runs").exists()


def test_where_its_processes_were_is_no_part_of_a_finished_run(train, tmp_path):
    there = {"training__coordinator": "here:1", "training__num_processes": 2}
    save_config(tmp_path, TEXT, tiny_config(train, **there, training__process_id=1))
    assert not is_finished(tmp_path, TEXT, tiny_config(train))
    (tmp_path / RESULTS).write_text("{}")
    assert is_finished(tmp_path, TEXT, tiny_config(train))
    assert not is_finished(tmp_path, TEXT, tiny_config(train, **there, training__epochs=3))
    for damaged in ("[]", "{}", '{"training": 3}', "{"):
        (tmp_path / CONFIG).write_text(damaged)
        assert not is_finished(tmp_path, TEXT, tiny_config(train))


def test_every_seed_is_checked_before_anything_is_trained(train, tmp_path):
    with pytest.raises(UserError, match="training.seed = -1 must be at least 0"):
        compare_all(TEXT, tiny_config(train), ["vae"], [0, -1], tmp_path / "runs", Console())
    with pytest.raises(
        UserError, match="training.seed = 2147483648 must be at least 0 and below 2"
    ):
        compare_all(TEXT, tiny_config(train), ["vae"], [2**31], tmp_path / "runs", Console())
    assert not (tmp_path / "runs").exists()


def test_the_recommendation_takes_the_best_likelihood_among_methods_that_use_z():
    outcomes = [
        outcome("lm", iw_nll=29.5, label="", iw_nll_each=[29.3, 29.7, 29.1, 29.9]),
        outcome("vae", iw_nll=29.6, kl=0.0, label="collapsed"),
        outcome("anneal", iw_nll=30.2, iw_nll_each=[29.2, 31.2, 31.2, 29.2]),
        outcome("aggressive", iw_nll=30.0, iw_nll_each=[29.0, 31.0, 29.0, 31.0]),
        outcome("beta", iw_nll=31.0, iw_nll_each=[30.0, 32.1, 29.9, 32.0]),
    ]
    words = advise(outcomes)
    assert words.startswith("Take aggressive: of 4 methods 3 make z used")
    # Of beta's sentences each costs a nat more: less than the spread of either's, and yet certain.
    assert "cannot be told from anneal." in words
    assert "0.50 ± 0.41 nats more than the language model's" in words
    assert "runs/aggressive/seed-0/config.json" in words

    # One seed that fails to use z is enough to pass over a method.
    outcomes.append(outcome("aggressive", 1, label="collapsed"))
    assert advise(outcomes).startswith("Take anneal")
    assert advise(outcomes[:2]).startswith("No method made z used")
    assert advise(outcomes[:1]).startswith("No method but floor")

    # A point posterior has neither a KL nor a verdict.
    point = {"method": "mmd", "seed": 0, "folder": "", "results": {"rec": 1.0}, "history": []}
    words = advise([*outcomes[:2], point])
    assert words.startswith("No method made z used with every seed. vae comes closest")
    assert advise([point]).startswith("No method was judged")
    # A flow has a KL, but neither MI nor a verdict: it is not said to leave z unused.
    flow = outcome("vae", kl=5.0)
    del flow["results"]["verdict"]
    assert advise([flow]).startswith("No method was judged")
    words = advise([outcomes[2], point, flow])
    assert words.startswith("Take anneal: of 1 methods 1 make z used")


def test_cells_give_the_spread_over_seeds():
    first = FORM.columns[0]
    runs = [outcome("vae", 0, iw_nll=30.0), outcome("vae", 1, iw_nll=32.0)]
    assert cell(first, runs) == "31.00 ± 1.41"
    assert cell(first, runs[:1]) == "30.00 ± 0.10"
    seconds = {c.name: cell(c, runs[:1]) for c in FORM.columns[-2:]}
    assert seconds == {"s": "5", "s to best": "2"}


@pytest.mark.slow
def test_the_command_line_reaches_it(train, tmp_path):
    done = execute(
        [sys.executable, "-m", "jvae.commands.cli", "compare", f"--train={train}"]
        + ["--methods=vae,agressive", f"--workdir={tmp_path / 'runs'}"]
        + ["--config.data.max_length=7"]
    )
    assert the_line(done).startswith("--methods: 'agressive' is unknown")
    # Own text has its own limits, not those of chitchat's quick recipe.
    assert done.stdout.startswith("limits of these files: data.max_size=10000, data.max_length=7 (")
    done = execute([sys.executable, "-m", "jvae.experiments.compare", "--seeds=0,x"])
    assert the_line(done) == "--seeds=0,x: these are not whole numbers"
