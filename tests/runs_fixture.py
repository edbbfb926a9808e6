"""One tiny finished run, shared by the tests that read or go on from it, and the `jvae` command."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pytest
from ml_collections import ConfigDict

from jvae.commands.cli import main
from jvae.tasks import TASKS


class Finished(NamedTuple):
    """A run directory that must not be written to, and what made it."""

    workdir: Path
    train: Path
    config: ConfigDict
    results: dict[str, Any]
    output: str


@pytest.fixture(scope="session", autouse=True)
def one_model_per_configuration() -> Iterator[None]:
    """Commands on the same run share the functions that are compiled for its model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "text", ("tests.tiny", "TEXT"))
        yield


@pytest.fixture(scope="session")
def train(tmp_path_factory) -> Path:
    """A file of 60 sentences."""
    from tests.tiny import write_sentences

    return write_sentences(tmp_path_factory.mktemp("sentences") / "train.txt")


@pytest.fixture(scope="session")
def finished(train, tmp_path_factory) -> Finished:
    """A run of three epochs, two of them aggressive."""
    from tests.tiny import run_tiny, tiny_config

    config = tiny_config(train, training__epochs=3)
    workdir = tmp_path_factory.mktemp("finished") / "run"
    results, output = run_tiny(config, workdir)
    return Finished(workdir, train, config, results, output)


@pytest.fixture
def one_device(monkeypatch):
    """`jvae evaluate` takes all devices; on the run's own it finds the run's functions."""
    monkeypatch.setattr("jvae.runs.run.choose_devices", lambda wanted: jax.devices()[:1])


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
