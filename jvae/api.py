"""Runs in Python: `jvae.load_run` and `jvae.train`.

Importing this module is light: what reads and trains runs is imported when it is asked for.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def load_run(workdir: str | Path) -> Any:
    """Reads a finished run directory.

    Args:
      workdir: the run directory.

    Returns:
      The interface that its task offers in Python; `jvae.tasks.text.run.TextRun` for text.

    Raises:
      UserError: something is missing or damaged; says which file.
    """
    from jvae.runs import directory
    from jvae.tasks import get_task

    workdir = Path(workdir)
    task = get_task(directory.task_name(workdir))
    return task.interface(directory.load_run(workdir, task))


def train(
    config: "ConfigDict | Mapping[str, Any]",
    workdir: str | Path,
    *,
    experiment: str = "text",
    task: str = "text",
    quiet: bool = False,
) -> Any:
    """Trains a run (or goes on with it), evaluates it, and reads it.

    The same call again continues where it was stopped; a finished run is evaluated anew.

        jvae.train({"data.train": "my.txt", "training.epochs": 3}, "runs/mine")

    Args:
      config: a whole configuration of the task, or the fields, by dotted name, in which the run
        differs from a named experiment.
      workdir: the run directory.
      experiment: `jvae.experiments.NAME`, from which those fields differ.
      task: what kind of work it is.
      quiet: prints nothing.

    Returns:
      See `load_run`.

    Raises:
      UserError: the configuration, the data or the run directory is at fault.
      jvae.training.loop.Interrupted: on SIGINT or SIGTERM; the same call goes on.
    """
    from rich.console import Console

    from jvae.runs.run import run
    from jvae.tasks import get_task
    from jvae.terminal import accept_any_text

    if not quiet:
        accept_any_text()
    run(get_task(task), configured(config, experiment), Path(workdir), Console(quiet=quiet))
    return load_run(workdir)


def configured(config: "ConfigDict | Mapping[str, Any]", experiment: str) -> "ConfigDict":
    """Returns a whole configuration, see `train`.

    Raises:
      UserError: there is no such experiment, or a field is misspelt or of another type.
    """
    import importlib

    from ml_collections import ConfigDict

    from jvae.errors import UserError
    from jvae.runs.flags import flag_error

    if isinstance(config, ConfigDict):
        return config
    try:
        module = importlib.import_module(f"jvae.experiments.{experiment}")
        whole: ConfigDict = module.get_config()
    except (ModuleNotFoundError, AttributeError):
        raise UserError(
            f"experiment = {experiment!r} is unknown: name a file of jvae/experiments that has a "
            "configuration, as 'text' or 'chitchat'"
        ) from None
    try:
        whole.update_from_flattened_dict(dict(config))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(flag_error(error)) from None
    return whole
