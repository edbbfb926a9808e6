"""`--train=-` reads standard input, and keeps it with the run."""

import io
import sys
from types import SimpleNamespace

import pytest

from jvae.errors import UserError
from jvae.runs.flags import _keep_standard_input
from tests.tiny import tiny_config


@pytest.fixture
def given(monkeypatch, tmp_path):
    """Calls with a text on standard input; the path that the configuration has then."""

    def call(text: str, split: str = "train", **fields) -> str:
        stdin = SimpleNamespace(buffer=io.BytesIO(text.encode()))
        monkeypatch.setattr(sys, "stdin", stdin)
        config = tiny_config("x.txt", **{f"data__{split}": "-"}, **fields)
        _keep_standard_input(config, tmp_path / "run")
        return config.data[split]

    return call


def test_it_is_kept_in_the_run_directory(given, tmp_path):
    path = given("\ufeffa cat\r\na dog\r\n")
    assert path == str(tmp_path / "run" / "train.txt")
    with open(path, encoding="utf-8", newline="") as file:
        assert file.read() == "a cat\r\na dog\r\n"
    assert given("\ufeffa cat\r\na dog\r\n") == path  # the same command again
    assert given("") == path
    assert given("a bird\n", "valid") == str(tmp_path / "run" / "valid.txt")


def test_other_files_are_left_alone(given, tmp_path):
    assert given("a cat\n", "test", data__train="y.txt").endswith("test.txt")
    config = tiny_config("x.txt")
    _keep_standard_input(config, tmp_path / "none")
    assert config.data.train == "x.txt" and not (tmp_path / "none").exists()


def test_mistakes_lose_nothing(given, tmp_path):
    with pytest.raises(UserError, match="--train=-: standard input is empty"):
        given(" \n")
    with pytest.raises(UserError, match="--train=- and --valid=-: standard input is one file"):
        given("a\n", data__valid="-")
    assert not (tmp_path / "run").exists()
    path = given("a cat\n")
    with pytest.raises(UserError, match="holds another text than standard input"):
        given("a dog\n")
    with open(path, encoding="utf-8") as file:
        assert file.read() == "a cat\n"
