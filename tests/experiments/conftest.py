"""One tiny finished run, shared by the tests that read or go on from it, and the `jvae` command."""

import ast
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pytest
from ml_collections import ConfigDict
from rich.console import Console

from jvae.errors import UserError
from jvae.experiments import building, runner, setup, text
from jvae.experiments.cli import main
from jvae.experiments.memory import FittedEvaluation
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
    """The configuration of `setting.command`; a double underscore is a dot."""
    config = text.get_config()
    sizes = dict(size.removeprefix("--config.").split("=") for size in SIZES)
    config.update_from_flattened_dict({k: ast.literal_eval(v) for k, v in sizes.items()})
    config.data.train = str(train)
    config.training.epochs = 2
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in overrides.items()})
    return config


def run_tiny(config: ConfigDict, workdir: Path) -> tuple[dict[str, Any], str]:
    """Results and what was shown."""
    shown = io.StringIO()
    results = runner.run(config, workdir, Console(file=shown, width=120))
    return results, shown.getvalue()


@contextmanager
def training_only() -> Iterator[None]:
    """Runs end with their last epoch: the programs of evaluation are half of what is compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            runner, "fit_evaluation", lambda config, *rest: FittedEvaluation(config, 1, {})
        )
        patch.setattr(runner, "evaluate_run", lambda *arguments: {})
        yield


def refused(config, workdir: Path) -> str:
    """The message of a run that must fail, at the latest in training."""
    with training_only(), pytest.raises(UserError) as caught:
        run_tiny(config, workdir)
    message = str(caught.value)
    assert "\n" not in message and message
    return message


@pytest.fixture(scope="session", autouse=True)
def one_model_per_configuration() -> Iterator[None]:
    """Commands on the same run share the programs that are kept by model."""
    models, make_model = {}, building.make_model

    def made_once(config, *rest):
        key = (config.to_json(), *rest)
        if key not in models:
            models[key] = make_model(config, *rest)
        return models[key]

    with pytest.MonkeyPatch.context() as patch:
        for module in (runner, setup):
            patch.setattr(module, "make_model", made_once)
        yield


@pytest.fixture(scope="session")
def train(tmp_path_factory) -> Path:
    """A file of 60 sentences."""
    return write_sentences(tmp_path_factory.mktemp("sentences") / "train.txt")


@pytest.fixture(scope="session")
def finished(train, tmp_path_factory) -> Finished:
    """A run of three epochs, two of them aggressive."""
    config = tiny_config(train, training__epochs=3)
    workdir = tmp_path_factory.mktemp("finished") / "run"
    results, output = run_tiny(config, workdir)
    return Finished(workdir, train, config, results, output)


@pytest.fixture
def one_device(monkeypatch):
    """`jvae evaluate` takes all devices; on the run's own it finds the run's programs."""
    monkeypatch.setattr("jvae.training.parallel.choose_devices", lambda wanted: jax.devices()[:1])


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
