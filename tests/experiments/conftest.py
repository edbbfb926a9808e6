"""One tiny finished run, shared by the tests that only read it, and the `jvae` command."""

import ast
import io
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ml_collections import ConfigDict
from rich.console import Console

from jvae.errors import UserError
from jvae.experiments import text
from jvae.experiments.cli import main
from jvae.experiments.runner import run
from tests.experiments.setting import SIZES, write_sentences

SENTENCES = ["the cat sees a dog", "a small bird", "likes big big hears the dog cat", "dog"]


class Finished(NamedTuple):
    """A run directory that must not be written to, and what made it."""

    workdir: Path
    train: Path
    config: ConfigDict
    results: dict[str, Any]
    output: str


def tiny_config(train: Path, **overrides: Any) -> ConfigDict:
    """The configuration of `setting.command`, less to compile; a double underscore is a dot."""
    config = text.get_config()
    sizes = dict(size.removeprefix("--config.").split("=") for size in SIZES)
    config.update_from_flattened_dict({k: ast.literal_eval(v) for k, v in sizes.items()})
    config.data.train = str(train)
    config.training.update({"epochs": 2, "num_devices": 1, "inner_window": 1})
    config.data.max_buckets = 1
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in overrides.items()})
    return config


def run_tiny(config: ConfigDict, workdir: Path) -> tuple[dict[str, Any], str]:
    """Results and what was shown."""
    shown = io.StringIO()
    results = run(config, workdir, Console(file=shown, width=120))
    return results, shown.getvalue()


def refused(config, workdir: Path) -> str:
    """The message of a run that must fail."""
    with pytest.raises(UserError) as caught:
        run_tiny(config, workdir)
    message = str(caught.value)
    assert "\n" not in message and message
    return message


@pytest.fixture(scope="session")
def train(tmp_path_factory) -> Path:
    """A file of 60 sentences."""
    return write_sentences(tmp_path_factory.mktemp("sentences") / "train.txt")


@pytest.fixture(scope="session")
def finished(train, tmp_path_factory) -> Finished:
    """A run of two epochs."""
    config = tiny_config(train)
    workdir = tmp_path_factory.mktemp("finished") / "run"
    results, output = run_tiny(config, workdir)
    return Finished(workdir, train, config, results, output)


@pytest.fixture
def jvae(capsys):
    """Runs a subcommand; the lines that it prints."""

    def call(*arguments) -> list[str]:
        capsys.readouterr()
        main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert err == ""
        return out.removesuffix("\n").split("\n")

    return call
