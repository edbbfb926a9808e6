"""NVIB from its configuration to its commands, on ten words."""

import json
import math

import numpy as np
import pytest
from rich.console import Console

from jvae.errors import UserError
from jvae.experiments import nvib, nvib_comparison
from jvae.experiments.cli import main
from jvae.experiments.setup import load_run
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


def compare(base, methods, workdir):
    console = Console(quiet=True)
    return nvib_comparison.compare(base, methods, [0], workdir, console, number=20, pairs=1)


@pytest.fixture(scope="module")
def compared(base, tmp_path_factory):
    """A finished comparison of one method: its directory and outcome."""
    workdir = tmp_path_factory.mktemp("runs") / "compared"
    (outcome,) = compare(base, ["nvib_0.5"], workdir)
    assert "error" not in outcome, outcome
    return workdir, outcome


@pytest.fixture(scope="module")
def run(compared):
    return compared[0] / "nvib_0.5" / "seed-0"


def test_a_run_has_the_numbers_of_sets(compared, run):
    results, history = compared[1]["results"], compared[1]["history"]
    assert len(history) == EPOCHS
    # The prior's own vector and a vector for a token at most: three to eight words and </s>.
    assert 1 <= results["vectors"] <= 1 + results["tokens"] / results["sentences"]
    for name in ("elbo", "iw_nll", "kl", "kl_gaussian", "kl_dirichlet", "kl_length", "rec"):
        assert math.isfinite(results[name]), name
    assert results["elbo"] == pytest.approx(-results["rec"] - results["kl"])
    assert not results["kl_analytic"] and "au" not in results and "mi_corpus" not in results
    quality = results["quality"]
    assert quality["asked"] == {"number": 20, "pairs": 1}
    assert quality["forward_ppl"]["model"] > 1 and quality["between_ppl"]["model"] > 1
    assert "| nvib_0.5 |" in (compared[0] / "report.md").read_text()


def test_the_same_command_reads_what_is_there(base, compared, monkeypatch):
    monkeypatch.setattr("jvae.experiments.runner.run", None)
    monkeypatch.setattr("jvae.experiments.quality.measure", None)
    (again,) = compare(base, ["nvib_0.5"], compared[0])
    stored = json.loads((compared[0] / "comparison.json").read_text())["runs"][0]
    assert again["results"] == stored["results"]


def test_a_stopped_run_resumes_to_the_same_numbers(base, run, tmp_path):
    config = nvib_comparison.configure(base, "nvib_0.5", 0)
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
    lines = call(capsys, "sample", run, "-n", 3, "--max-length", 6)
    assert len(lines) == 3 and set(" ".join(lines).split()) <= known
    (tmp_path / "file.txt").write_text("\n".join(sentences))
    back = call(capsys, "reconstruct", run, tmp_path / "file.txt", "--max-length", 6)
    way = call(capsys, "interpolate", run, *sentences, "--steps", 3, "--max-length", 6)
    # The ends of the way are the reconstructions: a set of weight 0 is not there.
    assert [way[0], way[-1]] == back and len(way) == 3
    call(capsys, "encode", run, tmp_path / "file.txt", "-o", tmp_path / "z.npz")
    assert np.load(tmp_path / "z.npz")["mean"].shape == (2, 4)


def test_what_sets_have_not_is_refused(run):
    from jvae.experiments.use import Decoding, arithmetic

    with pytest.raises(UserError, match="sets of vectors, which have no difference"):
        arithmetic(load_run(run), ("a", "b"), "c", Decoding(), key=None)
