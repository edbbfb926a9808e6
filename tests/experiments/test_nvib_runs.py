"""Runs with sets of vectors from the configuration to the commands, on ten words."""

import json
import math

import jax
import numpy as np
import pytest
from rich.console import Console

from jvae.errors import UserError
from jvae.experiments import nvib, nvib_comparison, quality
from jvae.experiments.cli import main
from jvae.experiments.setup import load_run
from jvae.experiments.use import Decoding, arithmetic
from tests.experiments.conftest import run_tiny
from tests.experiments.setting import numbers

EPOCHS = 2


@pytest.fixture(scope="module")
def base(train):
    """A configuration of the smallest sizes."""
    config = nvib.get_config()
    config.data.update({"name": "text", "train": str(train), "max_buckets": 1})
    config.model.update({"latent_size": 4, "embed_size": 4, "hidden_size": 4, "feed_forward": 4})
    config.training.update({"epochs": EPOCHS, "batch_size": 8, "max_batches": 0, "num_devices": 1})
    config.evaluation.update({"iw_samples": 3, "num_examples": 2, "iw_sentences": 3})
    config.objective.kl_epochs = 1.0
    return config


# Gamma variables take most of a minute to compile.
@pytest.fixture(scope="module", params=["vt", pytest.param("nvib_0.25", marks=pytest.mark.slow)])
def method(request):
    return request.param


def compare(base, method, workdir):
    console = Console(quiet=True)
    (outcome,) = nvib_comparison.compare(base, [method], [0], workdir, console, number=20, pairs=1)
    return outcome


@pytest.fixture(scope="module")
def compared(base, method, tmp_path_factory):
    """A finished comparison of one method: its directory and outcome."""
    workdir = tmp_path_factory.mktemp("runs") / "compared"
    with pytest.MonkeyPatch.context() as patch:
        # What language models say is tested beside `jvae quality`.
        both = {name: {"model": 8.0, "real": 9.0} for name in ("forward_ppl", "reverse_ppl")}
        patch.setattr(quality, "perplexities", lambda *_, **__: both)
        patch.setattr(quality, "read_perplexity", lambda *_, **__: 7.0)
        load = quality.load_run
        patch.setattr(
            quality, "load_run", lambda path: path.name != "language-model" and load(path)
        )
        outcome = compare(base, method, workdir)
    assert "error" not in outcome, outcome
    return workdir, outcome


@pytest.fixture(scope="module")
def run(compared, method):
    return compared[0] / method / "seed-0"


def test_a_run_has_the_numbers_of_sets(compared, method):
    results, history = compared[1]["results"], compared[1]["history"]
    ours, tokens = method.startswith("nvib"), results["tokens"] / results["sentences"]
    assert len(history) == EPOCHS
    # A vector for each token, or for each at most, and the prior's own.
    if ours:
        assert 1 <= results["vectors"] <= 1 + tokens
    else:
        assert results["vectors"] == pytest.approx(tokens)
    named = {"kl_gaussian", "kl_length"} | ({"kl_dirichlet"} if ours else set())
    assert {name for name in results if name.startswith("kl_")} - {"kl_se", "kl_analytic"} == named
    for name in named | {"elbo", "iw_nll", "kl", "rec"}:
        assert math.isfinite(results[name]), name
    assert results["elbo"] == pytest.approx(-results["rec"] - results["kl"])
    assert results["kl_analytic"] != ours and "au" not in results and "mi_corpus" not in results
    found = results["quality"]
    assert found["asked"] == {"number": 20, "pairs": 1} and found["samples"] == 20
    assert found["interpolation"]["pairs"] == 1
    assert found.get("between_ppl", {"model": 7.0}) == {"model": 7.0}  # there may be no words
    assert f"| {method} |" in (compared[0] / "report.md").read_text()


def test_the_same_command_reads_what_is_there(base, method, compared, monkeypatch):
    monkeypatch.setattr("jvae.experiments.runner.run", None)
    monkeypatch.setattr(quality, "measure", None)
    again = compare(base, method, compared[0])
    stored = json.loads((compared[0] / "comparison.json").read_text())["runs"][0]
    assert again["results"] == stored["results"]


@pytest.mark.slow
def test_a_stopped_run_resumes_to_the_same_numbers(base, method, run, tmp_path):
    config = nvib_comparison.configure(base, method, 0)
    config.training.epochs = 1
    run_tiny(config, tmp_path)
    config.training.epochs = EPOCHS
    run_tiny(config, tmp_path)
    assert numbers(tmp_path) == numbers(run)


def call(capsys, *arguments) -> list[str]:
    capsys.readouterr()
    main([str(argument) for argument in arguments])
    return capsys.readouterr().out.removesuffix("\n").split("\n")


def test_the_commands_of_a_run(run, train, capsys, tmp_path):
    sentences = train.read_text().splitlines()[:2]
    known = set(" ".join(train.read_text().split()).split()) | {"<unk>"}
    lines = call(capsys, "sample", run, "-n", 3, "--max-length", 13)
    assert len(lines) == 3 and set(" ".join(lines).split()) <= known
    (tmp_path / "file.txt").write_text("\n".join(sentences))
    back = call(capsys, "reconstruct", run, tmp_path / "file.txt", "--max-length", 13)
    way = call(capsys, "interpolate", run, *sentences, "--steps", 3, "--max-length", 13)
    # The ends of the way are the reconstructions: a set of weight 0 is not there.
    assert [way[0], way[-1]] == back and len(way) == 3
    call(capsys, "encode", run, tmp_path / "file.txt", "-o", tmp_path / "z.npz")
    assert np.load(tmp_path / "z.npz")["mean"].shape == (2, 4)


def test_what_sets_have_not_is_refused(run):
    with pytest.raises(UserError, match="sets of vectors, which have no difference"):
        arithmetic(load_run(run), ("a", "b"), "c", Decoding(), key=jax.random.key(0))
