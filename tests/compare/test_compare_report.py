"""The report of a comparison of made-up runs, and what a comparison loads."""

import io
import json
import math
import shlex

import jax
import pytest
from rich.console import Console

from jvae import plots
from jvae.compare import advice, columns, report
from jvae.compare.methods import choose
from jvae.compare.run import PHASES, compare, train_or_read
from jvae.errors import UserError
from jvae.evaluation.evaluate import table_rows
from jvae.runs.directory import RESULTS, save_config, save_results
from tests.compare.setting import FORM, advise, failed, outcome, table, untrained
from tests.tiny import TEXT, tiny_config


def one_sentence(method, folder, **numbers):
    """A run on one test sentence, as it is read back."""
    done = outcome(method, iw_nll_se=math.nan, **numbers)
    save_results(folder, done["results"], RESULTS)
    return done | {"results": json.loads((folder / RESULTS).read_text())}


def write(outcomes, folder):
    """Returns what is shown, and the page."""
    shown = io.StringIO()
    report.write(FORM, outcomes, folder, Console(file=shown, width=80))
    return shown.getvalue(), (folder / "report.html").read_text()


def test_one_test_sentence_has_no_error_bars_and_a_report(tmp_path):
    runs = [one_sentence("lm", tmp_path, iw_nll=30.5), one_sentence("vae", tmp_path)]
    shown, page = write(runs, tmp_path)
    assert "30.50" in shown and "±" not in shown and "<td>30.50</td>" in page
    assert columns.ESTIMATED not in shown
    assert "Take vae" in shown and "0.50 nats less than the language model's (lm)" in shown
    for run in runs:  # where the whole split is one sentence there is no verdict either
        del run["results"]["verdict"]
    assert "a single test sentence" in advise(runs)

    mi = {"value": 0.5, "standard_error": math.nan, "ceiling": 1.0}
    numbers = {"examples": 1, "iw_examples": 1, "latent_size": 2, "shuffled_rec": 1.0}
    for key in ("iw_nll", "rec", "kl"):
        numbers |= {key: 2.0, f"{key}_se": math.nan}
    numbers |= {"mi_batch": mi}
    rows = {name: text for name, text, _ in table_rows(TEXT.metrics, numbers, TEXT.nouns)}
    assert rows["IW-NLL(0)"] == rows["rec"] == rows["KL"] == "2.00" and rows["MI (batch)"] == "0.50"


def test_a_method_with_a_failed_seed_is_shown_with_it_and_not_recommended(tmp_path):
    runs = [
        outcome("lm"),
        outcome("anneal", 0, iw_nll=32.0, kl_analytic=False),
        outcome("anneal", 1, iw_nll=32.0),
        outcome("aggressive", 0, iw_nll=20.0),
        failed("aggressive", 1),
        failed("bn", 0),
        failed("bn", 1),
    ]
    words = advise(runs)
    assert words.startswith("Take anneal: of 1 methods 1 make z used")
    assert "Left out, as not every seed finished: aggressive." in words
    rows = {row[0]: row for row in table(runs)}
    assert list(rows) == ["lm", "anneal", "aggressive (1 of 2 seeds)", "bn"]
    assert rows["bn"][-1] == "failed: the KL became [bold] < non-finite" and not any(
        rows["bn"][1:-1]
    )

    shown, page = write(runs, tmp_path)
    assert "aggressive (1 of 2 seeds)" in shown and "failed: the KL became [bold] <" in shown
    assert "<td>failed: the KL became [bold] &lt; non-finite</td>" in page
    assert columns.ESTIMATED in shown and columns.ESTIMATED in page
    nothing = advise([runs[0], *runs[3:]])
    assert nothing.startswith("No method but floor and ceiling finished with every seed")


def test_a_method_that_exceeds_the_memory_does_not_end_the_others(train, tmp_path):
    raised = {
        "lm": MemoryError(),
        "ae": jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 8 bytes."),
    }
    run = untrained(lambda name: outcome("vae")["results"], raised)
    config, shown = tiny_config(train, training__aggressive=False), io.StringIO()
    console = Console(file=shown, width=150)
    runs = compare(TEXT, config, ["vae"], [0], tmp_path, console, run=run)
    reason = "RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes."
    assert [run.get("error") for run in runs] == ["MemoryError", reason, None]
    rows = {row[0]: row[-1] for row in table(runs)}
    assert rows == {"lm": "failed: MemoryError", "ae": f"failed: {reason}", "vae": "used"}
    assert f"ae, seed 0: failed: {reason}" in shown.getvalue() and "Take vae" in shown.getvalue()
    assert f"<td>failed: {reason}</td>" in (tmp_path / "report.html").read_text()

    raised["vae"] = TypeError("an error of ours")
    with pytest.raises(TypeError, match="an error of ours"):
        compare(TEXT, config, ["vae"], [0], tmp_path / "again", console, run=run)


def test_each_method_is_compared_with_the_language_model_of_its_decoder():
    assert choose(TEXT.methods, ["vae"]) == ["lm", "ae", "vae"]
    names = choose(TEXT.methods, ["cnn", "vae"])
    assert names == ["lm", "ae", "lm_cnn", "ae_cnn", "cnn", "vae"]
    nlls = {"lm": 31.0, "lm_cnn": 29.0, "cnn": 28.0, "vae": 30.0}
    runs = [outcome(name, iw_nll=nll) for name, nll in nlls.items()]
    words = advise(runs)
    assert words.startswith("Take cnn: of 2 methods")
    assert "1.00 nats less than the language model's (lm_cnn)" in words
    words = advise(runs[:2] + runs[3:])
    assert "1.00 nats less than the language model's (lm)" in words


def test_an_estimated_kl_is_marked():
    runs = [outcome("vae", kl_analytic=True), outcome("mixture", kl_analytic=False)]
    cells = [dict(zip(("", *names()), row, strict=False)) for row in table(runs)]
    assert [row["KL"] for row in cells] == ["2.00", "~2.00"]
    assert cells[1]["rec"] == "29.00"


@pytest.mark.slow
def test_the_report_says_what_its_errors_and_pictures_are_of(tmp_path, monkeypatch):
    levels, draw = [], plots.rate_distortion

    def kept(points, given, path):
        levels.append(given)
        draw(points, given, path)

    monkeypatch.setattr(plots, "rate_distortion", kept)
    rows = [outcome("ae", 0, rec=3.0), outcome("ae", 1, rec=5.0)]
    for run in rows:  # a point posterior
        run["results"] = {name: run["results"][name] for name in ("rec", "best_epoch", "corpus")}
    rows += [outcome("vae", 0), outcome("vae", 1)]
    shown = {
        columns.OVER_SEEDS: rows,
        columns.OVER_EXAMPLES: rows[::2],
        columns.OVER_BOTH: [*rows, failed("bn", 0), outcome("bn", 1)],
    }
    for caption, runs in shown.items():
        said, page = write(runs, tmp_path)
        for other in shown:
            assert (other in said, other in page) == (other == caption, other == caption)
        assert (report.OF_FIRST in page) == (len(runs) > 2)
    assert levels == [{"ae": 4.0}, {"ae": 3.0}, {"ae": 4.0}]
    chosen = [outcome("vae", 0), outcome("bn", 0)]
    assert not any("Of the split" in text for text in write(chosen, tmp_path))
    for run in chosen:
        run["results"]["split"] = "valid"
    assert all("Of the split valid." in text for text in write(chosen, tmp_path))


def test_what_a_posterior_does_not_define_is_shown_as_absent(tmp_path):
    vae = outcome("vae", mi_corpus={"value": 1.5}, ppl_iw=9.0, mmd={"value": 0.1})
    vae["results"]["over_floor"] = {"value": 0.3, "se": 0.1}
    flow = outcome("iaf", iw_nll=20.0, kl_analytic=False, ppl_iw=5.0)
    del flow["results"]["verdict"]
    cells = [dict(zip((*names(), "z"), row[1:], strict=True)) for row in table([vae, flow])]
    assert [(row["MI"], row["z"]) for row in cells] == [("1.50", "used"), ("-", "-")]
    assert "-" not in {cells[0][name] for name in names()}
    shown, page = write([vae, flow], tmp_path)
    assert "Take vae: of 1 methods" in shown and page.count("<td>-</td>") == 4  # over LM, MI, ..


def names():
    return [column.name for column in FORM.columns]


def test_the_recommended_run_has_a_command():
    run = outcome("vae") | {"folder": "my runs/vae/seed-0"}
    words = shlex.split(advice.command(run))
    assert words == [
        "python",
        "-m",
        "jvae.experiments.chitchat",
        "--config=my runs/vae/seed-0/config.json",
        "--workdir=my runs/vae/seed-0-again",
    ]
    assert advise([run]).endswith(advice.command(run))


def test_the_text_is_loaded_once_for_all_and_not_for_finished_runs(train, tmp_path):
    given = []

    def run(task, config, folder, console, *, source, resources, phases):
        given.append((source, resources))
        assert phases == tmp_path / "runs" / PHASES
        raise UserError("not now")

    config, console = tiny_config(train, training__aggressive=False), Console(file=io.StringIO())
    with pytest.raises(UserError, match="every method failed; the first: not now"):
        compare(TEXT, config, ["vae"], [0], tmp_path / "runs", console, run=run)
    assert len(given) == 3 and given[0][0].corpus.sentences["train"]
    assert all(pair[0] is given[0][0] and pair[1] is given[0][1] for pair in given)

    def never():
        raise AssertionError("a finished run is read")

    folder = tmp_path / "runs" / "vae" / "seed-0"
    save_config(folder, TEXT, config)
    save_results(folder, {"rec": 1.0}, RESULTS)
    done = train_or_read(TEXT, config, "vae", "", tmp_path / "runs", console, never, run)
    assert done["results"] == {"rec": 1.0}


def test_what_a_task_shows_of_each_run_stands_side_by_side(tmp_path):
    shown = {"lm": {"prior_sampled": ["a <b>", "c"]}, "vae": {"prior_sampled": ["d", "e"]}}
    shown["vae"]["interpolation"] = {"from": "f", "to": "g", "sentences": ["h", "i"]}
    shown["vae"]["reconstructions"] = [{"sentence": "j", "reconstruction": "k"}]
    _, page = write([outcome(name, shown=of) for name, of in shown.items()], tmp_path)
    assert "<th>lm</th><th>vae</th></tr><tr><td>a &lt;b&gt;</td><td>d</td></tr>" in page
    assert "<h3>Interpolation</h3><table class='words'><tr><th>vae</th></tr><tr><td>h</td>" in page
    assert "<tr><th>sentence</th><th>vae</th></tr><tr><td>j</td><td>k</td></tr>" in page
