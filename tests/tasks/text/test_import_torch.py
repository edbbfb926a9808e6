"""A PyTorch checkpoint becomes a run directory with the same numbers.

The numbers of `torch_checkpoint/` are PyTorch's, made by `torch_fixture.py`; PyTorch itself is
needed only where a test says so.
"""

import json
import pickle
import shutil
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.batch import SPECIALS
from jvae.commands.cli import main
from jvae.errors import UserError
from jvae.evaluation.corpus import encode, reconstruction
from jvae.objectives import iw_log_likelihood
from jvae.random import Stream, example_keys, sample_keys, stream
from jvae.runs.directory import load_run
from jvae.tasks.text.import_torch import import_arrays, read_state_dict
from tests.tiny import TEXT

FOLDER = Path(__file__).parent / "torch_checkpoint"
TRAIN, TEST = FOLDER / "train.txt", FOLDER / "test.txt"
GROUP, SAMPLES = 4, 6  # sentences whose MI is estimated together; K of IW-NLL
EVALUATION = {
    "evaluation": {"mi_batch_size": GROUP, "iw_samples": SAMPLES, "num_examples": 2},
    "data": {"max_buckets": 1},  # less to compile
}


def latent_noise(number: int, samples: int, size: int) -> tuple[jax.Array, jax.Array]:
    """What `jvae evaluate` draws: `[N, L]` for ELBO and MI, `[K, N, L]` for IW-NLL."""
    key = stream(jax.random.key(0), Stream.EVALUATION)
    keys = example_keys(stream(key, Stream.LATENT), jnp.arange(number))
    draw = jax.vmap(lambda k: jax.random.normal(k, (size,)))
    return draw(keys), jax.vmap(draw)(sample_keys(keys, jnp.arange(samples)))


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / "model.npz"))


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / "expected.npz"))


@pytest.fixture(scope="module")
def imported(arrays, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("imported") / "run"
    import_arrays(TEXT, arrays, workdir, train=TRAIN, test=TEST)
    config = json.loads((workdir / "config.json").read_text())
    for group, fields in EVALUATION.items():
        config[group] |= fields
    (workdir / "config.json").write_text(json.dumps(config))
    return workdir


def same(found, wanted) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_the_fixture_has_the_noise_that_evaluation_draws(expected):
    noise, iw_noise = latent_noise(*expected["iw_noise"].shape[1::-1], expected["z"].shape[1])
    np.testing.assert_allclose(noise, expected["noise"], rtol=1e-5)
    np.testing.assert_allclose(iw_noise, expected["iw_noise"], rtol=1e-5)


def test_every_sentence_has_pytorchs_numbers(imported, expected):
    run, key = load_run(imported, TEXT), stream(jax.random.key(0), Stream.EVALUATION)
    sentences = TEST.read_text(encoding="utf-8").splitlines()
    rows = [[1, *run.resources.encode(sentence), 2] for sentence in sentences]
    lengths = np.array([len(row) - 1 for row in rows])
    tokens = np.zeros((len(rows), lengths.max() + 1), np.int32)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = row
    batch = jvae.text_batch(tokens, lengths)

    found = encode(run.model, run.params, batch, key=key)
    same(found.mean, expected["mean"])
    same(found.log_var, expected["log_var"])
    same(found.z, expected["z"])
    same(found.kl.sum(axis=1), expected["kl"])
    same(reconstruction(run.model, run.params, found.z, batch, key=key), expected["rec"])
    weigh = partial(iw_log_likelihood, num_samples=SAMPLES, chunk_size=SAMPLES)
    same(-weigh(run.model, run.params, batch, key=key)[0], expected["iw_nll"])


@pytest.mark.slow
def test_the_commands_work_and_evaluate_finds_pytorchs_figures(
    imported, expected, tmp_path, capsys
):
    workdir = tmp_path / "run"
    shutil.copytree(imported, workdir)
    main(["evaluate", str(workdir)])
    assert "verdict:" in capsys.readouterr().out
    results = json.loads((workdir / "results.json").read_text())
    rec, kl = expected["rec"].mean(), expected["kl"].mean()
    assert results["examples"] == len(expected["rec"])
    same([results["rec"], results["kl"], results["elbo"]], [rec, kl, -rec - kl])
    same(results["iw_nll"], expected["iw_nll"].mean())
    same(results["mi_batch"]["value"], expected["mi"])
    assert results["au"] == expected["au"] == 2

    main(["sample", str(workdir), "-n", "2"])
    assert len(capsys.readouterr().out.splitlines()) == 2
    main(["reconstruct", str(workdir), str(TEST)])
    assert len(capsys.readouterr().out.splitlines()) == len(expected["rec"])


def test_a_vocabulary_file_may_list_the_words_in_any_order(arrays, imported, tmp_path):
    words = list(load_run(imported, TEXT).resources.vocabulary)
    # Theirs: the special tokens last, in another order.
    order = [*range(4, len(words)), 2, 0, 3, 1]
    listed = tmp_path / "vocabulary.txt"
    listed.write_text("\n".join(words[number] for number in order) + "\n", encoding="utf-8")
    by_word = ("encoder.embed.weight", "decoder.embed.weight", "decoder.pred_linear.weight")
    moved = arrays | {name: arrays[name][order] for name in by_word}
    import_arrays(TEXT, moved, tmp_path / "run", train=TRAIN, test=TEST, vocabulary=listed)
    again, before = load_run(tmp_path / "run", TEXT), load_run(imported, TEXT)
    assert again.resources == before.resources
    jax.tree.map(np.testing.assert_array_equal, again.params, before.params)


def test_labels_are_no_words(arrays, imported, tmp_path):
    path = tmp_path / "labelled.txt"
    lines = TRAIN.read_text(encoding="utf-8").splitlines()
    path.write_text("".join(f"label{n % 2}\t{line}\n" for n, line in enumerate(lines)))
    import_arrays(TEXT, arrays, tmp_path / "run", train=path, label=True)
    before = load_run(imported, TEXT).resources
    assert load_run(tmp_path / "run", TEXT).resources == before
    assert before.vocabulary[:7] == (*SPECIALS, "the", "zebra", "sees")  # as they appear


# What is refused: one line, and no run directory.


def without(name: str):
    return lambda arrays: {key: value for key, value in arrays.items() if key != name}


def replaced(name: str, change):
    return lambda arrays: arrays | {name: change(arrays[name])}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("encoder.embed.weight"), "has no parameter encoder.embed.weight; give a"),
        (without("decoder.lstm.bias_hh_l0"), "has no parameter decoder.lstm.bias_hh_l0; give a"),
        (
            replaced("decoder.lstm.weight_ih_l0", lambda a: a[:, 1:]),
            "decoder.lstm.weight_ih_l0 has the shape (28, 7), where the others ask for (28, 8)",
        ),
        (
            replaced("decoder.pred_linear.weight", lambda a: a[1:]),
            "decoder.pred_linear.weight has the shape (14, 7), where the others ask for (15, 7)",
        ),
        (replaced("encoder.embed.weight", lambda a: a[0]), "encoder.embed.weight is no matrix"),
        (
            lambda arrays: arrays | {"encoder.lstm.weight_ih_l1": np.zeros((28, 7))},
            "has a parameter encoder.lstm.weight_ih_l1 besides",
        ),
    ],
)
def test_another_layout(arrays, tmp_path, change, says):
    refused(says, change(arrays), tmp_path / "run", train=TRAIN)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["zebra", *SPECIALS], "has 15 words, "),
        (["zebra", *SPECIALS[1:]], "no line <pad>; give"),
        (["zebra", *SPECIALS, "zebra"], "'zebra' is there 2 times; give"),
    ],
)
def test_another_vocabulary(arrays, tmp_path, lines, says):
    path = tmp_path / "vocabulary.txt"
    path.write_text("\n".join(lines) + "\n")
    refused(says, arrays, tmp_path / "run", train=TRAIN, vocabulary=path)


def test_another_training_file(arrays, tmp_path):
    says = f"has 15 words, {TEST} makes 16; give the training file"
    refused(says, arrays, tmp_path / "run", train=TEST)


def test_a_directory_that_is_there(arrays, tmp_path):
    with pytest.raises(UserError, match="is there already; name a new run directory"):
        import_arrays(TEXT, arrays, tmp_path, train=TRAIN)


def refused(says: str, arrays, workdir: Path, **texts) -> None:
    with pytest.raises(UserError) as caught:
        import_arrays(TEXT, arrays, workdir, **texts)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert not workdir.exists()


def test_without_pytorch(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    command = ["import-torch", str(tmp_path / "run"), str(FOLDER / "model.pt"), f"--train={TRAIN}"]
    with pytest.raises(SystemExit) as caught:
        main(command)
    out, err = capsys.readouterr()
    assert caught.value.code == 2 and out == "" and err.count("\n") == 1
    assert "PyTorch, which is not installed: pip install -e '.[torch]' in jvae's folder" in err


# With PyTorch.


def test_the_fixture_is_what_pytorch_computes(arrays, imported, expected):
    torch = pytest.importorskip("torch")
    from tests.tasks.text.torch_fixture import ids, numbers

    state = {name: torch.tensor(array) for name, array in arrays.items()}
    words = list(load_run(imported, TEXT).resources.vocabulary)
    sentences = [ids(words, line) for line in TEST.read_text(encoding="utf-8").splitlines()]
    found = numbers(state, sentences, expected["noise"], expected["iw_noise"])
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-9)


def test_the_command_reads_the_file(imported, tmp_path, capsys):
    pytest.importorskip("torch")
    files = (FOLDER / "model.pt", f"--train={TRAIN}", f"--test={TEST}")
    main(["import-torch", str(tmp_path / "run"), *map(str, files)])
    assert "vocab_size 15, latent_size 3, embed_size 5, hidden_size 7" in capsys.readouterr().out
    again, before = load_run(tmp_path / "run", TEXT), load_run(imported, TEXT)
    jax.tree.map(np.testing.assert_array_equal, again.params, before.params)


def test_files_of_old_versions_of_pytorch(arrays, tmp_path):
    torch = pytest.importorskip("torch")
    state = {name: torch.tensor(array) for name, array in arrays.items()}
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    jax.tree.map(np.testing.assert_array_equal, read_state_dict(tmp_path / "old.pt"), arrays)


class Touch:
    """A pickle that would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_files_that_are_no_state_dict(tmp_path):
    torch = pytest.importorskip("torch")
    path, trace = tmp_path / "model.pt", tmp_path / "executed"

    def says(words: str) -> None:
        with pytest.raises(UserError, match=words) as caught:
            read_state_dict(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)

    says("cannot be read")
    for content in (b"", b"no checkpoint", (FOLDER / "model.pt").read_bytes()[:-500]):
        path.write_bytes(content)
        says("not a PyTorch checkpoint of tensors alone")
    for code in (Touch(trace), {"a": Touch(trace)}):
        torch.save(code, path)
        says("not a PyTorch checkpoint of tensors alone; nothing in it was run")
    path.write_bytes(pickle.dumps(Touch(trace)))
    says("not a PyTorch checkpoint of tensors alone; nothing in it was run")
    assert not trace.exists()
    torch.save(torch.nn.Linear(1, 1), path)  # a whole model needs its class
    says("not a PyTorch checkpoint of tensors alone")
    for other in (torch.zeros(2), [torch.zeros(2)], {"epoch": 3}):
        torch.save(other, path)
        says("not a state_dict")
