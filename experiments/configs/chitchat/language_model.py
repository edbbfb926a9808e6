"""Chitchat, the quick run's decoder without a latent: the exact NLL that a VAE must beat.

    python -m jvae.experiments.chitchat --config=experiments/configs/chitchat/language_model.py \
        --workdir=runs/chitchat-lm
"""

from ml_collections import ConfigDict

from jvae.experiments import chitchat


def get_config() -> ConfigDict:
    """No encoder, no KL; IW-NLL(1) is exact."""
    config = chitchat.get_config()
    config.model.mode = "lm"
    config.model.prior = "standard_normal"
    config.objective.rate_control = ""
    return config
