import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time

import pytest

from jvae.data.builder import SPLITS, fingerprint
from jvae.data.cache import cached
from jvae.data.corpora import CORPORA, load_corpus
from jvae.data.synthetic import Synthetic
from jvae.errors import UserError

SMALL = {"num_train": 30, "num_valid": 3, "num_test": 3}


def small(cache_dir):
    return load_corpus("synthetic", cache_dir=str(cache_dir), **SMALL)


def place_of(cache_dir):
    return next(cache_dir.rglob("checksums.json")).parent


def test_unknown_names():
    with pytest.raises(UserError, match="unknown corpus 'chitcat': did you mean chitchat"):
        load_corpus("chitcat")
    with pytest.raises(UserError, match="there are chitchat, ptb, text, synthetic"):
        load_corpus("yahoo-answers")
    with pytest.raises(UserError, match="corpus ptb has no option 'dir'; .*data_dir, cache_dir"):
        load_corpus("ptb", dir="x")
    assert list(CORPORA) == ["chitchat", "ptb", "text", "synthetic"]


def test_no_tensorflow_and_lazy_tfds(tmp_path):
    code = f"""
import sys
import jvae.data
assert "tensorflow_datasets" not in sys.modules
for _ in range(2):
    jvae.data.load_corpus("synthetic", cache_dir={str(tmp_path)!r}, **{SMALL})
assert "tensorflow_datasets" in sys.modules
assert not {{"tensorflow", "torch"}} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    # Neither a bar nor a log line.
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_cache_serves_and_leaves_nothing_else(tmp_path, monkeypatch, capfd):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    first = small(tmp_path)
    assert not list((tmp_path / "tmp").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(Synthetic, "contents", lambda self: pytest.fail("prepared again"))
        start = time.monotonic()
        again = small(tmp_path)
        assert time.monotonic() - start < 2
    assert again.sentences == first.sentences and again.fingerprint == first.fingerprint
    assert not list(tmp_path.glob(".preparing-*"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "info", "no checksums", "empty"])
def test_damaged_cache_is_rebuilt(tmp_path, damage):
    first = small(tmp_path)
    place = place_of(tmp_path)
    record = next(place.glob("*train*"))
    data = record.read_bytes()
    if damage == "truncate":
        record.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        middle = data.find(b"w")
        record.write_bytes(data[:middle] + b"v" + data[middle + 1 :])
    elif damage == "remove":
        record.unlink()
    elif damage == "info":
        (place / "dataset_info.json").write_text("{")
    elif damage == "no checksums":
        (place / "checksums.json").unlink()
    else:
        for path in place.iterdir():
            path.write_bytes(b"")
    assert small(tmp_path).fingerprint == first.fingerprint
    # The repaired place is whole again and serves.
    calls = []
    original = Synthetic.contents
    try:
        Synthetic.contents = lambda self: calls.append(1) or original(self)
        assert small(tmp_path).fingerprint == first.fingerprint
    finally:
        Synthetic.contents = original
    assert not calls


def test_file_in_place_of_the_cache_entry(tmp_path):
    (tmp_path / "synthetic").write_text("in the way")
    assert len(small(tmp_path).sentences["train"]) == 30


def test_unwritable_cache_falls_back(tmp_path):
    (tmp_path / "file").write_text("")
    corpus = small(tmp_path / "file" / "cache")
    assert len(corpus.sentences["train"]) == 30
    assert "cannot be written" in corpus.notes[-1] and str(tmp_path / "file") in corpus.notes[-1]


@pytest.mark.slow
def test_two_processes_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        prints = {c.fingerprint for c in pool.map(small, [tmp_path] * 2)}
    assert prints == {small(tmp_path).fingerprint}
    assert not list(tmp_path.glob(".preparing-*"))


def test_cache_dir_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("JVAE_CACHE_DIR", str(tmp_path / "here"))
    load_corpus("synthetic", **SMALL)
    assert os.listdir(tmp_path / "here") == ["synthetic"]


def test_user_error_passes_through_the_builder(tmp_path, monkeypatch):
    def refuse(self):
        raise UserError("as it was raised")

    monkeypatch.setattr(Synthetic, "contents", refuse)
    with pytest.raises(UserError, match="^as it was raised$"):
        cached(Synthetic, cache_dir=str(tmp_path))


def test_fingerprint_sees_order_and_split():
    def of(train, valid, test):
        parts = zip(SPLITS, (train, valid, test), strict=True)
        return fingerprint({split: {"sentences": rows} for split, rows in parts})

    prints = [
        of(["a", "b"], ["c"], ["d"]),
        of(["b", "a"], ["c"], ["d"]),
        of(["a"], ["b", "c"], ["d"]),
        of(["a b"], ["c"], ["d"]),
        of(["a", "b"], ["c"], ["e"]),
    ]
    assert len(set(prints)) == 5
