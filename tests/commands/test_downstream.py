"""Probe, clusters, neighbours, arithmetic, imputation and `TextVAE` on a tiny finished run."""

import io
import pickle
import re
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from jvae.commands.cli import main
from jvae.errors import UserError
from jvae.estimator import TextVAE
from jvae.runs.directory import load_run
from jvae.tasks.text import use
from tests.tiny import SENTENCES, TEXT, WORDS, sizes


@pytest.fixture(scope="module")
def texts(finished):
    return finished.train.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def trained(finished):
    return load_run(finished.workdir, TEXT)


def means(run, sentences):
    return np.asarray(use.encode(run, sentences, key=jax.random.key(0)).mean)


def test_few_compiled_functions_encode_whatever_is_asked(trained):
    use._encoder.cache_clear()
    for words in (1, 2, 4):
        means(trained, ["bird " * words] * words)
    assert use._encoder(trained.model)._cache_size() == 1


def test_neighbours(finished, trained, texts, jvae):
    doubled = finished.train.parent / "doubled.txt"
    doubled.write_text("\n".join(texts * 2), encoding="utf-8")
    queries = [texts[7], "a small bird"]
    shown = jvae("neighbours", finished.workdir, doubled, *queries, "-n", 4)
    distinct = list(dict.fromkeys(texts))
    latents, asked = means(trained, distinct), means(trained, queries)
    for place, query in enumerate(queries):
        block = shown[5 * place : 5 * place + 5]
        distances = np.linalg.norm(latents - asked[place], axis=1)
        rows = np.argsort(distances, kind="stable")[:4]
        assert block[0] == query
        for line, row in zip(block[1:], rows, strict=True):
            distance, sentence = line.split("\t")
            assert sentence == distinct[row]
            np.testing.assert_allclose(float(distance), distances[row], atol=6e-4)
    assert shown[1] == f"0.000\t{texts[7]}", "a sentence of the corpus is its own neighbour"
    cosine = jvae("neighbours", finished.workdir, doubled, *queries, "--metric", "cosine", "-n", 99)
    assert len(cosine) == 2 * (1 + len(distinct))


def test_cluster(finished, texts, jvae, tmp_path):
    shown = jvae("cluster", finished.workdir, finished.train, "-k", 3, "-n", 2)
    heads = [line for line in shown if not line.startswith("  ")]
    sizes = [int(re.fullmatch(r"cluster \d, (\d+) sentences", head)[1]) for head in heads]
    assert len(sizes) == 3 and sum(sizes) == len(texts) and sizes == sorted(sizes)[::-1]
    members = [line.strip() for line in shown if line.startswith("  ")]
    assert set(members) <= set(texts) and 3 <= len(members) <= 6
    labelled = tmp_path / "labelled.tsv"
    labelled.write_text("\n".join(f"{len(t.split()) > 5}\t{t}" for t in texts), encoding="utf-8")
    first, *again = jvae("cluster", finished.workdir, labelled, "-k", 3, "-n", 2, "--label")
    assert again == shown
    large = jvae("cluster", finished.workdir, finished.train, "-k", 3, "--seed", 2**33)
    assert len(large) > 3, "scikit-learn's seeds are smaller"
    figure = r"-?\d\.\d{3}"
    assert re.fullmatch(
        f"NMI {figure}, ARI {figure}, homogeneity {figure}; 60 sentences, 2 labels, 3 clusters",
        first,
    )


def test_probe(finished, texts, jvae, tmp_path, monkeypatch):
    # The first word says it, so that the bag of words of one-word sentences must be perfect.
    rows = [f"{word}\t{word}" for word in WORDS[:2] for _ in range(10)]
    path = tmp_path / "labelled.txt"
    path.write_text("\n".join(rows), encoding="utf-8")
    title, head, *table = jvae("probe", finished.workdir, path)
    assert title == "20 sentences, 2 labels, 5-fold cross-validation; 2 latent units"
    assert head.split("  ")[-1].strip() == "macro F1"
    found = {line[:14].strip(): line[14:].split() for line in table}
    assert (
        found["bag of words"] == found["latent"] == ["1.000", "±", "0.000", "1.000", "±", "0.000"]
    )
    assert found["majority"][0] == "0.500"
    # As training and test file, one of them piped.
    stdin = SimpleNamespace(buffer=io.BytesIO(("\n".join(rows[:3]) + "\n").encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    title, _, *table = jvae("probe", finished.workdir, path, "--test", "-")
    assert title == "20 sentences, 2 labels, 3 for test; 2 latent units"
    assert table[0].split()[1] == "1.000"


def test_arithmetic(finished, trained, jvae):
    a, b, c = SENTENCES[:3]
    z, key = means(trained, [a, b, c]), jax.random.key(0)
    (same,) = jvae("arithmetic", finished.workdir, a, a, c)
    assert same == use.decode(trained, z[2:], use.Decoding(), key=key)[0]
    # The tiny decoder says much the same for every z: what it is given is what counts.
    shifted = use.shifted(trained, (a, b), c, key=key)
    np.testing.assert_allclose(shifted, [z[0] - z[1] + z[2]], atol=1e-6)
    expected = use.decode(trained, shifted, use.Decoding(), key=key)
    assert jvae("arithmetic", finished.workdir, a, b, c) == expected


def test_impute(finished, jvae, tmp_path):
    path = tmp_path / "blanks.txt"
    path.write_text("the _ sees a _\n_ bird\n", encoding="utf-8")
    few = ("--draws", 2, "--beam-size", 3, "--samples", 10)
    first, second = jvae("impute", finished.workdir, path, *few)
    assert re.fullmatch(r"the \w+ sees a \w+", first) and re.fullmatch(r"\w+ bird", second)
    assert set(f"{first} {second}".split()) <= set(WORDS)
    shown = jvae("impute", finished.workdir, path, *few, "-n", 2)
    assert [line.split("\t")[1] for line in shown[::2]] == [first, second]
    shares = [float(line.split("\t")[0]) for line in shown]
    assert len(shown) == 4 and 1 >= shares[0] >= shares[1] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["neighbours", "RUN", "GOOD"], "sentence"),
        (["neighbours", "RUN", "GOOD", "dog", "--metric", "angle"], "angle"),
        (["neighbours", "RUN", "/nowhere/x.txt", "dog"], "/nowhere/x.txt: no such file"),
        (["cluster", "RUN", "GOOD", "-k", "9"], "9 clusters of 2 distinct latent vectors"),
        (["cluster", "RUN", "GOOD", "--label"], "no tab in line 1"),
        (["cluster", "RUN", "GOOD", "-k", "0"], "'0' is not a whole number"),
        (["probe", "RUN", "GOOD"], "no tab in line 1"),
        (["probe", "RUN", "LABELLED"], "label 'a' has too few sentences (1) for 5 folds"),
        (["probe", "RUN", "LABELLED", "--folds", "1"], "'1' is not a whole number of at least 2"),
        (["probe", "RUN", "LABELLED", "--test", "/nowhere"], "/nowhere: no such file"),
        (["arithmetic", "RUN", "a", "b"], "C"),
        (["arithmetic", "RUN", "a", "b", " "], "sentence 3 is empty"),
        (["impute", "RUN", "GOOD"], "sentence 1 has no blank: put _"),
        (["impute", "RUN", "GOOD", "--draws", "0"], "'0' is not a whole number"),
    ],
)
def test_mistakes_end_in_one_line(finished, capsys, tmp_path, arguments, says):
    names = {"RUN": finished.workdir, "GOOD": tmp_path / "a.txt", "LABELLED": tmp_path / "b.txt"}
    names["GOOD"].write_text("a cat\na dog\n", encoding="utf-8")
    names["LABELLED"].write_text("a\tcat\nb\tdog\nb\tbird\n", encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        main([str(names.get(argument, argument)) for argument in arguments])
    out, err = capsys.readouterr()
    assert caught.value.code == 2 and out == ""
    assert err.startswith("jvae: ") and err.count("\n") == 1 and says in err, err


# scikit-learn's manner.


def settings() -> dict:
    """Those of `tiny_config`, as `TextVAE` takes them."""
    return sizes() | {"training.epochs": 1}


@pytest.mark.slow
def test_a_pipeline_trains_once_for_the_same_sentences(texts, tmp_path, monkeypatch):
    labels = [len(sentence.split()) > 5 for sentence in texts]
    model = make_pipeline(TextVAE(tmp_path, settings()), LogisticRegression())
    predicted = model.fit(texts, labels).predict(texts)
    assert predicted.shape == (60,)
    vae = model[0]
    (folder,) = tmp_path.iterdir()
    assert vae.run_dir_ == str(folder) and (folder / "output.txt").stat().st_size > 500
    latents = vae.transform(texts)
    assert latents.shape == (60, 2)
    np.testing.assert_array_equal(latents, means(load_run(folder, TEXT), texts))
    direct = LogisticRegression().fit(latents, labels).predict(latents)
    np.testing.assert_array_equal(predicted, direct)

    asked = []
    monkeypatch.setattr(
        "jvae.estimator.run", lambda task, config, folder, console: asked.append((config, folder))
    )
    again = clone(vae).fit(texts)  # as it was
    assert again.run_dir_ == vae.run_dir_ and asked == []
    np.testing.assert_array_equal(again.transform(texts), latents)
    for other, sentences in (
        (clone(vae), texts[1:]),
        (clone(vae).set_params(config=settings() | {"training.seed": 1}), texts),
    ):
        with pytest.raises(UserError):  # nothing was trained there, for `run` is not the real one
            other.fit(sentences)
    assert len({folder, *(where for _, where in asked)}) == 3
    assert asked[1][0].training.seed == 1


def test_a_run_in_scikit_learns_manner(finished, trained, texts):
    vae = TextVAE.from_run(finished.workdir)
    latents = vae.transform(SENTENCES)
    np.testing.assert_array_equal(latents, means(trained, SENTENCES))
    expected = use.reconstruct(trained, SENTENCES, use.Decoding(), key=jax.random.key(0))
    assert vae.inverse_transform(latents) == expected
    revived = pickle.loads(pickle.dumps(vae))
    np.testing.assert_array_equal(revived.transform(SENTENCES), latents)
    with pytest.raises(UserError, match=r"latent vectors of shape \[4, 1\]: this run has \[N, 2\]"):
        vae.inverse_transform(latents[:, :1])


def test_what_cannot_be_fitted(tmp_path):
    with pytest.raises(UserError, match="sentence 2 is blank"):
        TextVAE(tmp_path).fit(["a cat", " \n"])
    with pytest.raises(UserError, match="no field 'epohs': did you mean 'epochs'"):
        TextVAE(tmp_path, {"training.epohs": 1}).fit(["a cat"])
    with pytest.raises(UserError, match="is not a run directory"):
        TextVAE.from_run(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []
