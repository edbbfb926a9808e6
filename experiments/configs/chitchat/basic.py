"""Chitchat, the same quick run without aggressive training: what collapse looks like.

    python -m jvae.experiments.chitchat --config=experiments/configs/chitchat/basic.py \
        --workdir=runs/chitchat-basic
"""

from ml_collections import ConfigDict

from jvae.experiments import chitchat


def get_config() -> ConfigDict:
    """The quick run with its encoder trained like any other part."""
    config = chitchat.get_config()
    config.training.aggressive = False
    return config
