"""`jvae quality` on a tiny finished run, and what its language models tell apart."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from jvae.commands.cli import main
from jvae.errors import UserError
from jvae.runs.directory import CONFIG, RESULTS, TrainedRun, load_run
from jvae.tasks.text import quality, reference_models
from jvae.tasks.text.use import paths
from tests.tiny import TEXT


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory) -> TrainedRun:
    """A run to write to; its language models are trained once for all tests."""
    workdir = tmp_path_factory.mktemp("quality") / "run"
    shutil.copytree(finished.workdir, workdir)
    config = json.loads((workdir / CONFIG).read_text())
    config["training"]["epochs"] = 8  # two epochs teach a language model next to nothing
    (workdir / CONFIG).write_text(json.dumps(config))
    return load_run(workdir, TEXT)


@pytest.fixture(scope="module")
def data(run):
    return TEXT.load(run.config, resources=run.resources)


def perplexities(run, data, samples, said=None):
    real = run.workdir / reference_models.FOLDER / "real"
    key, say = jax.random.key(0), [] if said is None else said
    return reference_models.perplexities(
        run, data, samples, real, run.config, key=key, say=say.append
    )


def measure(workdir: Path, capsys, *options: str) -> tuple[dict, str]:
    capsys.readouterr()
    main(["quality", str(workdir), *options])
    return json.loads((workdir / quality.QUALITY).read_text()), capsys.readouterr().out


@pytest.fixture(scope="module")
def collapsed(run, data) -> tuple[list[str], dict]:
    """Samples that are all the same sentence, and their perplexities."""
    text = data.source.corpus.sentences["train"]
    samples = [text[0]] * len(text)
    return samples, perplexities(run, data, samples)


@pytest.mark.slow
def test_a_collapsed_sampler_has_a_high_reverse_perplexity(run, data, collapsed):
    samples, found = collapsed
    assert found["reverse_ppl"]["real"] == found["forward_ppl"]["real"]
    assert found["reverse_ppl"]["model"] > 1.2 * found["reverse_ppl"]["real"]
    # The same again trains nothing.
    files = run.workdir.rglob("output.txt")
    before, said = {path: path.stat().st_mtime_ns for path in files}, []
    assert len(before) >= 2 and perplexities(run, data, samples, said) == found
    assert len(said) == 2 and all(": read from " in line for line in said)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_samples_are_read_as_evaluation_reads_the_test_text(run, data, collapsed):
    folder = run.workdir / reference_models.FOLDER / "real"
    model = load_run(folder, TEXT)
    assert model.resources == run.resources
    test = list(data.source.corpus.sentences["test"])
    read = reference_models.read_perplexity(model, test, key=jax.random.key(1))
    assert read == pytest.approx(json.loads((folder / RESULTS).read_text())["ppl_iw"], rel=1e-5)


@pytest.mark.slow
def test_the_command(run, data, capsys):
    results, shown = measure(run.workdir, capsys, "-n", "40", "--max-length", "6")
    assert results["samples"] == 40 == results["compared"] + results["empty"]
    assert results["decoding"]["strategy"] == "sample" and results["words"]["model"] <= 6
    real = data.source.sentences("train")
    rows = np.random.default_rng(0).permutation(len(real))[: results["compared"]]
    assert results["distinct_1"]["real"] == pytest.approx(
        10 / sum(len(real[row].split()) for row in rows)
    )
    for field in ("forward_ppl", "reverse_ppl", "self_bleu", "reconstruction_bleu"):
        assert results[field]["model"] > 0
    assert 0 <= results["exact_match"]["model"] <= 1
    found = results["interpolation"]  # three test sentences are one pair
    assert found["pairs"] == 1 == found["measured"] + found["equal_ends"]
    if found["measured"]:  # else all decoded ends are equal
        assert results["path"]["model"] >= 1 and results["jump"]["model"] >= 0.1
    assert results["between_ppl"]["model"] > 1
    for name in ("forward PPL", "self-BLEU-4", "distinct-3", "reconstruction BLEU", "PPL between"):
        assert name in shown
    assert f"{results['reverse_ppl']['model']:.2f}" in shown


def test_many_paths_at_once_are_each_path_alone(run):
    starts, ends = ["the cat sees a dog", "a bird"], ["a small dog", "the big big cat likes a dog"]
    key, pairs = jax.random.key(2), list(zip(starts, ends, strict=True))
    together = paths(run, starts, ends, 5, key=key).at(0)
    alone = [paths(run, [start], [end], 5, key=key).at(0) for start, end in pairs]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-6)
    z = paths(run, starts, ends, 5, key=key, at_once=4)
    some = [z.at(start)[:4] for start in range(0, z.number, 4)]
    np.testing.assert_array_equal(np.concatenate(some), together)
    with pytest.raises(UserError, match="0 interpolation steps"):
        paths(run, starts, ends, 0, key=key)


def test_smooth_paths_and_what_lies_on_them():
    def perplexity(sentences: list[str]) -> float:
        return float(len(sentences))

    # The first path is smooth, the second stands still, and nothing lies on it.
    first = ["a"] * 6 + ["a b"] * 5
    found = quality.along_paths([*first, *[""] * 11], perplexity)
    assert found["interpolation"]["measured"] == 1 == found["interpolation"]["equal_ends"]
    assert found["jump"] == found["path"] == found["monotone"] == {"model": 1.0}
    assert found["between_ppl"] == {"model": 9.0}  # strictly between, and no empty ones
    # A model that decodes the same sentence everywhere has no paths, but is read.
    found = quality.along_paths(["a"] * 22, perplexity)
    assert found["interpolation"] == {"points": 11, "pairs": 2, "measured": 0, "equal_ends": 2}
    assert found["between_ppl"] == {"model": 18.0} and "jump" not in found


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-n", "-3"], "'-3' is not a whole number of at least 0"),
        (["--reconstruction", "sample"], "invalid choice: 'sample'"),
        (["--pairs", "-1"], "'-1' is not a whole number of at least 0"),
        (["--top-p", "2"], "--top-p=2.0 must be above 0"),
    ],
)
def test_mistakes_end_in_one_line(run, capsys, options, says):
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["quality", str(run.workdir), *options])
    err = capsys.readouterr().err
    assert caught.value.code == 2 and says in err
    assert err.startswith("jvae: ") and err.count("\n") == 1


def test_samples_without_a_word_are_refused(run):
    with pytest.raises(UserError, match="0 of 5 samples hold a word"):
        quality.with_words(run, [""] * 5)
    with pytest.raises(UserError, match="1 of 2 samples hold a word"):
        quality.with_words(run, ["a", " "])
    assert quality.with_words(run, ["a", " ", "b c"]) == ["a", "b c"]
