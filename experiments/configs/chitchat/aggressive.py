"""Chitchat with aggressive updates of the encoder (He et al., 2019), a quick run.

    python -m jvae.experiments.chitchat --config=experiments/configs/chitchat/aggressive.py \
        --workdir=runs/chitchat-aggressive

The aggressive phase lasts throughout: ended earlier, it leaves a latent that fades again.
"""

from ml_collections import ConfigDict

from jvae.experiments import compare


def get_config() -> ConfigDict:
    """Returns the recipe of comparisons with an inner loop in every epoch."""
    config = compare.get_config()
    config.training.update({"aggressive": True, "aggressive_min_epochs": config.training.epochs})
    return config
