"""Chitchat, the quick run's network without noise and KL: the reconstruction a VAE cannot beat.

    python -m jvae.experiments.chitchat --config=experiments/configs/chitchat/autoencoder.py \
        --workdir=runs/chitchat-ae
"""

from ml_collections import ConfigDict

from jvae.experiments import chitchat


def get_config() -> ConfigDict:
    """A point posterior; only reconstructions are defined."""
    config = chitchat.get_config()
    config.model.mode = "ae"
    config.model.prior = "standard_normal"
    config.objective.rate_control = ""
    return config
