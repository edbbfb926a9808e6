"""Lets `--config=RUN/config.json` load a run's configuration: absl's option takes Python only."""

from pathlib import Path

from ml_collections import ConfigDict

from jvae.runs.directory import read_config
from jvae.tasks import get_task


def get_config(argument: str) -> ConfigDict:
    """Reads a run directory's `config.json`.

    Args:
      argument: "TASK:PATH".

    Raises:
      UserError: the file is missing or damaged.
    """
    name, _, path = argument.partition(":")
    return read_config(Path(path), get_task(name))
