"""The console script on tiny finished runs, in process."""

import errno
import io
import json
import os
import shutil
import sys
from importlib import metadata
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jvae.commands.cli import main
from jvae.errors import UserError
from jvae.runs.directory import load_run
from jvae.runs.report import print_table
from jvae.training.checkpoint import FOLDER
from jvae.training.logs import read_metrics
from tests.tiny import SENTENCES, TEXT, WORDS, run_tiny, tiny_config


@pytest.fixture
def refused(capsys):
    """Runs a subcommand that must fail; its one line."""

    def call(*arguments) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert caught.value.code == 2 and out == ""
        assert err.startswith("jvae: ") and err.count("\n") == 1 and err.endswith("\n"), err
        return err.removeprefix("jvae: ")

    return call


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(SENTENCES) + "\n", encoding="utf-8")
    return path


def table(shown: str) -> dict[str, str]:
    """Name -> number of the printed table."""
    rows = (line.strip().split("  ", 1) for line in shown.splitlines() if line.startswith("  "))
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}


def without_clock(results: dict) -> dict:
    return {k: v for k, v in results.items() if not k.endswith("_seconds")}


def test_evaluate_finds_the_numbers_of_the_run_again(finished, jvae, monkeypatch, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(finished.workdir, workdir)
    (workdir / "results.json").unlink()
    shutil.rmtree(workdir / "plots")

    def after_saving(*arguments):
        assert "shown" in json.loads((workdir / "results.json").read_text())
        assert (workdir / "plots" / "latent_map.png").exists()
        print_table(*arguments)

    monkeypatch.setattr("jvae.runs.run.print_table", after_saving)
    shown = "\n".join(jvae("evaluate", workdir))
    results = json.loads((workdir / "results.json").read_text())
    before = json.loads((finished.workdir / "results.json").read_text())
    # Another number of devices: the sums differ in the last digits.
    for name in ("iw_nll", "elbo", "kl", "rec", "shuffled_rec", "prior_rec", "ppl_iw"):
        np.testing.assert_allclose(results[name], before[name], rtol=1e-5)
    assert results["best_epoch"] == before["best_epoch"]
    assert results["examples"] == before["examples"]
    assert results["shown"] == before["shown"]
    figures = table(shown)
    assert figures["ELBO"].startswith(f"{before['elbo']:.2f} ± {before['elbo_se']:.2f}")
    assert {"IW-NLL(5)", "KL", "MI (corpus)", "AU", "MMD^2", "rec, shuffled z"} <= figures.keys()
    assert "verdict:" in shown and "sentences from the prior" in shown
    assert (workdir / "plots" / "latent_map.png").stat().st_size > 1000


@pytest.mark.slow
def test_evaluate_takes_its_old_option(finished, jvae, one_device, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(finished.workdir, workdir)
    for option in ("--iw-sentences=2", "--iw-examples=2"):
        jvae("evaluate", workdir, "--iw-samples=5", option)
        results = json.loads((workdir / "results.json").read_text())
        assert results["iw_examples"] == 2 and len(results["iw_nll_each"]) == 2


def test_a_command_that_the_task_does_not_have_is_refused(tmp_path, refused):
    (tmp_path / "config.json").write_text('{"task": "documents"}')
    says = f"jvae sample is for runs of the task text: {tmp_path} is one of documents"
    assert refused("sample", tmp_path) == f"{says}\n"
    (tmp_path / "config.json").write_text('{"training": {}}')
    assert "names no task: the run is of an earlier jvae" in refused("sample", tmp_path)


@pytest.mark.slow
def test_evaluate_options(finished, jvae, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(finished.workdir, workdir)
    options = ("--split=train", "--iw-samples=2", "--iw-sentences=4")
    shown = "\n".join(jvae("evaluate", workdir, *options))
    assert "text train, 54 sentences" in shown
    figures = table(shown)
    assert "first 4 sentences" in figures["IW-NLL(2)"]
    one = json.loads((workdir / "results-train.json").read_text())["k_curve"]["nll"][0]
    assert figures["-ELBO of these"].startswith(f"{one:.2f} ± ")
    jvae("evaluate", workdir, *options, "--seed=5")
    other = json.loads((workdir / "results-train.json").read_text())["k_curve"]["nll"][0]
    assert other != one


@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_sample(finished, jvae, strategy):
    def draw(*options):
        return jvae("sample", finished.workdir, "-n", 70, "--strategy", strategy, *options)

    first, again, other = draw(), draw(), draw("--seed", 1)
    assert first == again and len(first) == len(other) == 70
    assert set(" ".join(first).split()) <= {*WORDS, "<unk>"}
    if strategy == "sample":
        assert first != other and len(set(first)) > 30


def test_sampling_is_the_default_and_more_sentences_begin_alike(finished, jvae):
    few = jvae("sample", finished.workdir, "-n", 5, "--strategy", "greedy")
    many = jvae("sample", finished.workdir, "-n", 9, "--strategy", "greedy")
    assert many[:5] == few
    assert jvae("sample", finished.workdir) == jvae(
        "sample", finished.workdir, "-n", 10, "--strategy=sample", "--seed=0"
    )


def test_limits_of_decoding(finished, jvae):
    # At this temperature all words are equally likely.
    hot = ("sample", finished.workdir, "-n", 64, "--temperature", 1000)
    assert any("<unk>" in line for line in jvae(*hot, "--unk"))
    assert not any("<unk>" in line for line in jvae(*hot))
    assert max(len(line.split()) for line in jvae(*hot, "--max-length", 3)) == 3
    coldest = jvae("sample", finished.workdir, "-n", 16, "--top-k", 1)
    assert coldest == jvae("sample", finished.workdir, "-n", 16, "--strategy", "greedy")


def test_reconstruct_gives_a_line_per_line(finished, jvae, lines, monkeypatch):
    found = jvae("reconstruct", finished.workdir, lines)
    assert len(found) == len(SENTENCES)
    assert found == jvae("reconstruct", finished.workdir, lines)
    stdin = SimpleNamespace(buffer=io.BytesIO(lines.read_bytes()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert jvae("reconstruct", finished.workdir, "-") == found


def test_interpolate(finished, jvae):
    for path in ("linear", "spherical"):
        ends = (SENTENCES[0], SENTENCES[2])
        found = jvae("interpolate", finished.workdir, *ends, "--path", path, "--steps", 5)
        assert len(found) == 5
    assert len(jvae("interpolate", finished.workdir, *ends)) == 7


def test_interpolation_ends_are_the_reconstructions(finished, jvae, lines):
    found = jvae("interpolate", finished.workdir, SENTENCES[0], SENTENCES[3], "--steps", 2)
    again = jvae("reconstruct", finished.workdir, lines)
    assert found == [again[0], again[3]]


def encode(jvae, run, sentences, folder):
    source, target = folder / "in.txt", folder / "out.npz"
    source.write_text("\n".join(sentences), encoding="utf-8")
    (said,) = jvae("encode", run, source, "-o", target)
    assert said == f"{target}: mean and log_var [{len(sentences)}, 2], sentences"
    with np.load(target) as file:
        found = {name: file[name] for name in file.files}
    assert bytes(found["sentences"]).decode().split("\n") == sentences
    return found


def test_encode(finished, jvae, tmp_path):
    found = encode(jvae, finished.workdir, SENTENCES, tmp_path)
    assert found["mean"].shape == found["log_var"].shape == (4, 2)
    assert found["mean"].dtype == np.float32 and np.isfinite(found["log_var"]).all()
    assert found["sentences"].dtype == np.uint8
    assert len({tuple(row) for row in found["mean"]}) == 4, "different sentences differ"


def test_one_long_line_makes_no_other_longer(finished, tmp_path):
    source, target = tmp_path / "in.txt", tmp_path / "out.npz"
    source.write_text("\n".join(["dog " * 20_000 + "é", *SENTENCES]), encoding="utf-8")
    main(["encode", str(finished.workdir), str(source), "-o", str(target)])
    assert target.stat().st_size < source.stat().st_size + 2_000


def test_what_cannot_be_encoded_leaves_the_file_that_is_there(
    finished, refused, lines, monkeypatch, tmp_path
):
    target = tmp_path / "z.npz"
    target.write_text("from before")

    def full(*arguments, **arrays):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    message = refused("encode", finished.workdir, lines, "-o", target)
    assert message.startswith(f"cannot write {target}: No space left on device; free some space")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lines.txt", "z.npz"]
    assert target.read_text() == "from before"


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert not caught.value.code
    assert capsys.readouterr().out == f"jvae {metadata.version('jvae')}\n"


def test_a_reader_that_leaves_ends_a_command_quietly(finished, capsys, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        with pytest.raises(SystemExit) as caught:
            main(["sample", str(finished.workdir), "-n", "3"])
    assert caught.value.code == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unable to initialize backend")])
def test_a_platform_that_is_not_there_is_no_damaged_checkpoint(
    finished, refused, monkeypatch, error
):
    def absent():
        raise error

    monkeypatch.setattr(jax, "devices", absent)
    message = refused("sample", finished.workdir)
    assert message.startswith("JAX_PLATFORMS=cpu asks for devices that this machine")


def test_a_command_has_the_precision_of_its_run(finished, jvae):
    asked = ("sample", finished.workdir, "-n", 3)
    before = jvae(*asked)
    jax.config.update("jax_enable_x64", True)  # as JAX_ENABLE_X64 does
    try:
        assert jvae(*asked) == before
    finally:
        jax.config.update("jax_enable_x64", False)


def test_a_sentence_is_encoded_alike_in_any_company(finished, jvae, tmp_path):
    together = encode(jvae, finished.workdir, SENTENCES, tmp_path)
    turned = encode(jvae, finished.workdir, SENTENCES[::-1], tmp_path)
    many = encode(jvae, finished.workdir, SENTENCES * 40, tmp_path)
    alone = [encode(jvae, finished.workdir, [sentence], tmp_path) for sentence in SENTENCES[1:]]
    for name in ("mean", "log_var"):
        np.testing.assert_allclose(turned[name][::-1], together[name], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(many[name][-4:], together[name], rtol=1e-5, atol=1e-6)
        found = np.concatenate([each[name] for each in alone])
        np.testing.assert_allclose(found, together[name][1:], rtol=1e-5, atol=1e-6)


def test_subcommands_write_nothing_into_the_run(finished, jvae, lines, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(finished.workdir, workdir)
    # As if the run were just saving: a reader must not sweep this up.
    (workdir / FOLDER / "999.orbax-checkpoint-tmp").mkdir()
    before = sorted(str(path) for path in workdir.rglob("*"))
    jvae("sample", workdir, "-n", 1)
    jvae("reconstruct", workdir, lines)
    assert sorted(str(path) for path in workdir.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sample", "RUN", "-n", "0"], "'0' is not a whole number of at least 1"),
        (["sample", "RUN", "-n", "x"], "'x' is not a whole number of at least 1"),
        (["sample", "RUN", "--temperature", "0"], "--temperature=0.0 must be above 0"),
        (["sample", "RUN", "--top-p", "1.5"], "--top-p=1.5"),
        (["sample", "RUN", "--top-k", "-1"], "'-1' is not a whole number of at least 0"),
        (["sample", "RUN", "--strategy", "magic"], "magic"),
        (["sample"], "run"),
        (["smaple", "RUN"], "smaple"),
        ([], "command"),
        (["interpolate", "RUN", "a", "b", "--steps", "1"], "1 interpolation steps"),
        (["interpolate", "RUN", "a", " "], "sentence 2 is empty: give it at least one word"),
        (["evaluate", "RUN", "--iw-sentences", "-3"], "'-3' is not a whole number of at least 0"),
        (["evaluate", "RUN", "--iw-tolerance", "x"], "'x' is not a number of at least 0"),
        (["evaluate", "RUN", "--split", "dev"], "dev"),
        (["reconstruct", "RUN", "/nowhere/x.txt"], "/nowhere/x.txt: no such file"),
        (["reconstruct", "RUN", "BLANK"], "blank.txt: line 2 is blank"),
        (["encode", "RUN", "BINARY", "-o", "x.npz"], "line 2, byte offset 6"),
        (["encode", "RUN", "EMPTY", "-o", "x.npz"], "empty.txt: empty file"),
        (["encode", "RUN", "GOOD", "-o", "/nowhere/x.npz"], "cannot write /nowhere/x.npz"),
        (["encode", "RUN", "a.csv", "-o", "x.npz"], "a.csv: a .csv file; this command reads plain"),
        (["reconstruct", "RUN", "a.jsonl.gz"], "write its sentences into a .txt, one a line"),
        (["neighbours", "RUN", "a.tsv", "a"], "a.tsv: a .tsv file"),
        (["cluster", "RUN", "a.tsv"], "a.tsv: a .tsv file"),
        (["probe", "RUN", "a.csv"], "write its `label<TAB>sentence` lines into a .txt"),
    ],
)
def test_mistakes_end_in_one_line(finished, refused, tmp_path, arguments, says):
    contents = {
        "blank": b"a cat\n\na dog\n",
        "binary": b"a cat\n\xff\n",
        "empty": b"",
        "good": b"a",
    }
    names = {"RUN": finished.workdir}
    for name, content in contents.items():
        names[name.upper()] = tmp_path / f"{name}.txt"
        names[name.upper()].write_bytes(content)
    message = refused(*(names.get(argument, argument) for argument in arguments))
    assert says in message


@pytest.mark.slow
def test_language_model(finished, jvae, refused, lines, one_device, tmp_path):
    config = tiny_config(finished.train, model__mode="lm", training__aggressive=False)
    results, shown = run_tiny(config, tmp_path / "lm")
    # Without a latent one sample is exact, and the bound is tight.
    assert results["iw_samples"] == 1
    np.testing.assert_allclose(results["iw_nll"], -results["elbo"], rtol=1e-5)
    np.testing.assert_allclose(results["rec"], -results["elbo"], rtol=1e-6)
    np.testing.assert_allclose(
        results["ppl_elbo"],
        np.exp(-results["elbo"] * results["examples"] / results["symbols"]),
        rtol=1e-5,
    )
    figures = table(shown)
    assert {"IW-NLL(1)", "PPL (IW)", "ELBO", "PPL (ELBO)", "rec"} <= figures.keys()
    assert not {"KL", "AU", "MMD^2", "MI (batch)", "rec, prior z"} & figures.keys()
    assert "verdict" not in shown and "reconstructions" not in shown
    again = table("\n".join(jvae("evaluate", tmp_path / "lm")))
    assert again["ELBO"] == figures["ELBO"]
    assert len(set(jvae("sample", tmp_path / "lm", "-n", 20))) > 5
    for arguments in (
        ("encode", tmp_path / "lm", lines, "-o", tmp_path / "x.npz"),
        ("reconstruct", tmp_path / "lm", lines),
        ("interpolate", tmp_path / "lm", "a", "b"),
    ):
        assert "is a language model: it has no latent" in refused(*arguments)
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.slow
def test_autoencoder(finished, jvae, lines, one_device, tmp_path):
    config = tiny_config(finished.train, model__mode="ae", training__aggressive=False)
    results, shown = run_tiny(config, tmp_path / "ae")
    figures = table(shown)
    assert {"rec", "AU", "MMD^2", "rec, shuffled z"} <= figures.keys()
    assert not {"KL", "ELBO", "PPL (ELBO)", "MI (batch)", "rec, prior z"} & figures.keys()
    assert not any(name.startswith("IW") for name in figures)
    assert not {"kl", "elbo", "iw_nll", "verdict"} & results.keys()
    assert "nan" not in shown.lower().replace("nats", "")
    history = read_metrics(tmp_path / "ae")
    assert all(record["train_kl"] == 0 and record["kl_weight"] == 0 for record in history)
    again = table("\n".join(jvae("evaluate", tmp_path / "ae")))
    assert again["rec"] == figures["rec"]
    assert len(jvae("reconstruct", tmp_path / "ae", lines)) == 4
    assert len(jvae("sample", tmp_path / "ae", "-n", 3)) == 3
    found = encode(jvae, tmp_path / "ae", SENTENCES, tmp_path)
    assert np.isneginf(found["log_var"]).all(), "a point mass has no spread"


def test_what_the_model_does_not_read_is_told(finished, capsys, tmp_path):
    path = tmp_path / "lost.txt"
    path.write_text(f"a zebra sees a cat\n{' dog' * 53}\n", encoding="utf-8")
    main(["reconstruct", str(finished.workdir), str(path)])
    out, err = capsys.readouterr()
    assert out.count("\n") == 2
    # 5 words and </s>, then the 50 of the run's limit and </s>.
    cut = "1 of 2 sentences cut to 50 tokens"
    assert err == f"note: {cut}, 1 of 57 tokens unknown to the model (<unk>)\n"
    main(["arithmetic", str(finished.workdir), "a cat", "a zebra", "dog"])
    assert capsys.readouterr().err == "note: 1 of 8 tokens unknown to the model (<unk>)\n"


def test_a_run_is_loaded_from_its_best_epoch(finished):
    history = read_metrics(finished.workdir)
    best = max(history, key=lambda record: record["elbo"])["epoch"]
    assert load_run(finished.workdir, TEXT).epoch == best == finished.results["best_epoch"]
    with pytest.raises(UserError, match="is not a run directory"):
        load_run(finished.workdir / "nothing", TEXT)
