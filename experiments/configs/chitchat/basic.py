"""Chitchat, the quick run without its remedy: what collapse looks like.

    python -m jvae.experiments.chitchat --config=experiments/configs/chitchat/basic.py \
        --workdir=runs/chitchat-basic
"""

from ml_collections import ConfigDict

from jvae.experiments import chitchat


def get_config() -> ConfigDict:
    """Returns the quick run with a KL weight that rises to 1, and nothing that holds the KL."""
    config = chitchat.get_config()
    config.objective.update({"rate_control": "", "kl_schedule": "linear"})
    config.objective.update({"kl_start": 0.05, "kl_epochs": 4.0})
    return config
