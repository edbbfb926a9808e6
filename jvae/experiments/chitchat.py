"""The embedded corpus: short lines of everyday chat, ready after `pip install`.

    python -m jvae.experiments.chitchat

TO DO
"""

from ml_collections import ConfigDict

from jvae.experiments.command import main
from jvae.experiments.config import default_config


def get_config() -> ConfigDict:
    """A small model and a short schedule, for two CPU cores."""
    config = default_config()
    config.data.update({"name": "chitchat", "max_size": 6000, "max_buckets": 3})
    config.model.update(
        {
            "latent_size": 16,
            "embed_size": 96,
            "hidden_size": 192,
            "dropout_in": 0.2,
            "dropout_out": 0.2,
            "init_scale": 0.08,
        }
    )
    config.objective.update({"kl_start": 0.1, "kl_epochs": 4.0})
    config.training.update(
        {
            "epochs": 8,
            "batch_size": 64,
            "max_batches": 40,
            "optimiser": "adam",
            "learning_rate": 2e-3,
            "inner_optimiser": "adam",
            "inner_learning_rate": 2e-3,
            "aggressive": True,
            "aggressive_epochs": 3,
        }
    )
    config.evaluation.update({"iw_samples": 50, "iw_sentences": 200})
    return config


if __name__ == "__main__":
    main(__file__)
