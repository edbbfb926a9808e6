"""chitchat TODO."""

from ml_collections import ConfigDict

from jvae.experiments.command import main
from jvae.experiments.config import default_config


def get_config() -> ConfigDict:
    """TODO."""
    config = default_config()
    config.data.name = "chitchat"
    return config


if __name__ == "__main__":
    main(__file__)
