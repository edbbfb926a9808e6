"""Chitchat, the quick run without its remedy: what collapse looks like.

    python -m jvae.experiments.chitchat --config=experiments/configs/chitchat/basic.py \
        --workdir=runs/chitchat-basic
"""

from ml_collections import ConfigDict

from jvae.experiments import chitchat


def get_config() -> ConfigDict:
    """Returns the quick run without batch normalisation of the posterior means."""
    config = chitchat.get_config()
    config.model.posterior_map = "none"
    return config
