"""Lets `--config=RUN/config.json` load a run's configuration: absl's option takes Python only."""

from pathlib import Path

from ml_collections import ConfigDict

from jvae.experiments.setup import read_config


def get_config(path: str) -> ConfigDict:
    """What a run directory's `config.json` says.

    Args:
      path: of that file.

    Raises:
      UserError: it is missing or damaged.
    """
    return read_config(Path(path))
