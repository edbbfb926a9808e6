"""Runs with sets of vectors from the configuration to the commands, on ten words."""

import json
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from rich.console import Console

import jvae
from jvae.commands import encode
from jvae.commands.cli import main
from jvae.compare.methods import configure
from jvae.compare.nvib import measure, nvib_form
from jvae.compare.run import compare as compare_runs
from jvae.distributions.sets import VectorSet
from jvae.errors import UserError
from jvae.evaluation.corpus import prior_samples
from jvae.evaluation.evaluate import table_rows
from jvae.evaluation.functions import SplitBatches, make_functions
from jvae.evaluation.prior_fit import observe_split
from jvae.experiments import nvib
from jvae.runs.directory import TrainedRun, load_run
from jvae.tasks.text import quality, use
from jvae.tasks.text.model import example_batch, make_model
from jvae.tasks.text.nvib_methods import NVIB
from jvae.tasks.text.run import TextRun
from jvae.tasks.text.use import Decoding, arithmetic, decode, paths, reconstruct
from tests.tiny import TEXT, numbers, run_tiny

EPOCHS = 2


@pytest.fixture(scope="module")
def base(train):
    """A configuration of the smallest sizes."""
    config = nvib.get_config()
    config.data.update({"name": "text", "train": str(train), "max_buckets": 1})
    config.model.update({"latent_size": 4, "embed_size": 4, "hidden_size": 4})
    config.model.transformer.feed_forward = 4
    config.training.update({"epochs": EPOCHS, "batch_size": 8, "max_batches": 0, "num_devices": 1})
    config.evaluation.update({"iw_samples": 3, "num_examples": 2, "iw_examples": 3})
    config.objective.kl_epochs = 1.0
    return config


@pytest.fixture(scope="module")
def untrained(base):
    config = configure(NVIB, base, "vt", 0)
    tokenizer = TEXT.load(config).resources
    model = make_model(config, tokenizer.vocab_size)
    params = jax.jit(partial(jvae.init, model))(example_batch(), key=jax.random.key(3))
    params = jax.tree.map(lambda leaf: 2 * leaf, params)  # so that sentences differ
    return TrainedRun(Path("untrained"), TEXT, config, tokenizer, model, params, 0)


def test_prior_samples_are_drawn_some_at_a_time(untrained, monkeypatch):
    monkeypatch.setattr(use, "decode", lambda run, z, how, *, key: z)
    monkeypatch.setattr(use, "BATCH_SIZE", 4)
    key = jax.random.key(2)
    z = use.sample_prior(untrained, 6, Decoding(), key=key)
    whole = jax.jit(partial(prior_samples, untrained.model))(
        untrained.params, np.arange(6), key=key
    )
    assert z.number == 6
    for start, rows in ((0, 4), (4, 2)):
        part = z.at(start)
        assert len(part.vectors) == 4
        np.testing.assert_allclose(
            part.vectors[:rows], whole.vectors[start : start + rows], rtol=1e-6
        )
        np.testing.assert_array_equal(part.count[:rows], whole.count[start : start + rows])


def test_a_path_between_two_sets_begins_and_ends_with_their_reconstructions(untrained):
    some = [
        "the cat sees a small dog",
        "a bird hears",
        "a big bird",
        "the dog likes the big big cat",
    ]
    how, key = Decoding(max_length=5), jax.random.key(1)
    path = paths(untrained, some[:2], some[2:], 3, key=key)
    sentences = decode(untrained, path, how, key=key)
    back = reconstruct(untrained, some, how, key=key)
    assert [sentences[row] for row in (0, 3, 2, 5)] == back
    assert len(set(back)) == 4  # else any path might do
    with pytest.raises(UserError, match="sets of vectors, which have no spherical path: .* leave"):
        paths(untrained, some[:1], some[1:2], 3, key=key, path="spherical")
    with pytest.raises(UserError, match="sets of vectors, which have no difference"):
        arithmetic(untrained, (some[0], some[1]), some[2], how, key=key)
    whole = path.at(0)
    assert path.number == 6
    few = paths(untrained, some[:2], some[2:], 3, key=key, at_once=2)
    for start in range(few.number):
        part = jax.tree.map(lambda leaf: leaf[:2], few.at(start))
        jax.tree.map(
            np.testing.assert_array_equal,
            part,
            jax.tree.map(lambda leaf, at=start: leaf[at : at + 2], whole),
        )


def test_what_is_written_of_sets_is_their_pooled_mean_alone(
    untrained, monkeypatch, capsys, tmp_path
):
    centre, mean = VectorSet(np.ones((2, 3, 4)), np.zeros((2, 3))), np.ones((2, 4))
    found = use.Encoding(mean, np.zeros((2, 0)), centre)
    monkeypatch.setattr(encode, "load", lambda arguments: TextRun(untrained))
    monkeypatch.setattr(encode, "note_lost", lambda run, sentences: None)
    monkeypatch.setattr(use, "encode", lambda run, sentences, *, key: found)
    source, target = tmp_path / "in.txt", tmp_path / "z.npz"
    source.write_text("a\nb\n")
    encode.act(SimpleNamespace(file=source, output=target, seed=0))
    said = capsys.readouterr().out
    assert said == f"{target}: mean [2, 4] pooled over each sentence's vectors, sentences\n"
    with np.load(target) as file:
        assert set(file.files) == {"mean", "sentences"}


def test_the_table_has_rows_of_sets():
    def rows_of(results):
        rows = table_rows(TEXT.metrics, results, TEXT.nouns)
        return {name: (number, note) for name, number, note in rows}

    results = {"examples": 4, "latent_size": 2, "shuffled_rec": 1.0, "kl": 9.0}
    results |= {"vectors": 3.0, "vectors_share": 0.25, "kl_gaussian": 8.0, "kl_length": 1.0}
    rows = rows_of(results)
    assert rows["vectors"] == ("3.00", "kept of each sentence, 25% of its tokens")
    assert rows["  of Gaussians"] == ("8.00", "nats") and rows["  of the length"][0] == "1.00"
    assert "  of weights" not in rows
    rows = rows_of(results | {"kl_dirichlet": 2.0, "kl_analytic": False})
    assert rows["  of weights"][0] == "2.00" and "no part of KL" in rows["  of weights"][1]


# A minute or two, most of it compilation.
@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow) for name in ("vt", "nvib_0.25")],
)
def method(request):
    return request.param


def compare(base, method, workdir, **options):
    measured = partial(
        measure,
        task=TEXT,
        base=base,
        language_model=workdir / "language-model",
        number=20,
        pairs=1,
    )
    form, console = nvib_form(TEXT), Console(quiet=True)
    (outcome,) = compare_runs(
        TEXT, base, [method], [0], workdir, console, form=form, measure=measured, **options
    )
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
            quality,
            "load_run",
            lambda path, task: path.name != "language-model" and load(path, task),
        )
        outcome = compare(base, method, workdir)
    assert "error" not in outcome, outcome
    return workdir, outcome


@pytest.fixture(scope="module")
def run(compared, method):
    return compared[0] / method / "seed-0"


def test_a_run_has_the_numbers_of_sets(compared, method):
    results, history = compared[1]["results"], compared[1]["history"]
    ours, tokens = method.startswith("nvib"), results["symbols"] / results["examples"]
    assert len(history) == EPOCHS
    # A vector for each token, or for each at most; NVIB's prior's own is none of them.
    if ours:
        assert 0 <= results["vectors"] <= tokens
    else:
        assert results["vectors"] == pytest.approx(tokens)
    assert results["vectors_share"] == pytest.approx(results["vectors"] / tokens)
    named = {"kl_gaussian", "kl_length"} | ({"kl_dirichlet"} if ours else set())
    assert {name for name in results if name.startswith("kl_")} - {"kl_se", "kl_analytic"} == named
    for name in named | {"elbo", "iw_nll", "kl", "rec"}:
        assert math.isfinite(results[name]), name
    assert results["elbo"] == pytest.approx(-results["rec"] - results["kl"])
    assert results["kl_analytic"] != ours and "au" not in results and "mi_corpus" not in results
    found = results["quality"]
    assert found["asked"] == {
        "number": 20,
        "pairs": 1,
        "best_epoch": results["best_epoch"],
        "split": "test",
    }
    assert found["samples"] == 20
    assert found["interpolation"]["pairs"] == 1
    assert found.get("between_ppl", {"model": 7.0}) == {"model": 7.0}  # there may be no words
    assert f"<td>{method}</td>" in (compared[0] / "report.html").read_text()


def test_the_same_command_reads_what_is_there(base, method, compared, monkeypatch):
    monkeypatch.setattr(quality, "measure", None)
    again = compare(base, method, compared[0], run=None)
    stored = json.loads((compared[0] / "comparison.json").read_text())["runs"][0]
    assert again["results"] == stored["results"]


def test_a_stopped_run_resumes_to_the_same_numbers(base, method, run, tmp_path):
    config = configure(NVIB, base, method, 0)
    config.training.epochs = 1
    run_tiny(config, tmp_path)
    config.training.epochs = EPOCHS
    run_tiny(config, tmp_path)
    assert numbers(tmp_path) == numbers(run)


def test_the_prior_knows_how_many_vectors_training_sentences_keep(run, method):
    trained, stored = load_run(run, TEXT), json.loads((run / "prior.json").read_text())
    assert stored["epoch"] == trained.epoch
    data = TEXT.load(trained.config, resources=trained.resources)
    split = data.splits["train"]
    batches = SplitBatches(split, data.buckets.widths, batch_size=16)
    functions = make_functions(trained.model)
    counts = observe_split(functions, trained.params, batches, jax.random.key(0))
    assert sum(counts) == len(split)
    if method == "vt":
        np.testing.assert_array_equal(counts, np.bincount(split.x.lengths, minlength=len(counts)))
    p = np.exp(trained.params["prior"]["logits"])
    known = counts + 1
    np.testing.assert_allclose(p / p[0], known / known[0], rtol=1e-5)


def test_a_run_is_pruned_without_training(run, method, compared, capsys):
    if method == "vt":
        with pytest.raises(SystemExit):
            main(["prune", str(run), "0"])
        assert "has model.posterior = 'vt'" in capsys.readouterr().err
        return
    main(["prune", str(run), "0", "1e9"])
    results = compared[1]["results"]
    points = json.loads((run / "pruning.json").read_text())["points"]
    assert points[0]["vectors"] == pytest.approx(results["vectors"])
    assert points[0]["share"] == pytest.approx(results["vectors_share"])
    assert points[0]["bleu"] == pytest.approx(results["quality"]["reconstruction_bleu"]["model"])
    assert points[1]["vectors"] == 0


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
    path = call(capsys, "interpolate", run, *sentences, "--steps", 3, "--max-length", 13)
    # The ends of the path are the reconstructions: a set of weight 0 is not there.
    assert [path[0], path[-1]] == back and len(path) == 3
    call(capsys, "encode", run, tmp_path / "file.txt", "-o", tmp_path / "z.npz")
    assert np.load(tmp_path / "z.npz")["mean"].shape == (2, 4)
