"""The embedded corpus: short lines of everyday chat, ready after `pip install`.

    python -m jvae.experiments.chitchat

Trains a small LSTM VAE with aggressive inference-network updates in minutes on two CPU cores. To
keep it short, sentences of more than 12 tokens are left out, an "epoch" is 200 random batches of 32
sentences, and the inner loop makes at most 5 updates with a window of 2, where He et al. (2019)
allow 100 with a window of 15. The KL weight rises from 0.05 to 1 over the first 10 epochs, and the
aggressive phase lasts throughout: ended earlier, it leaves a latent that fades again.

For the real thing, on a GPU or TPU: `--config.data.max_length=0 --config.training.max_batches=0
--config.training.inner_window=15 --config.training.inner_max_updates=100
--config.model.hidden_size=512`.
"""

from ml_collections import ConfigDict

from jvae.runs.flags import main
from jvae.tasks import get_task
from jvae.tasks.text.config import default_config


def get_config() -> ConfigDict:
    """Makes a configuration: a small model and a short schedule."""
    config = default_config()
    config.data.update(
        {
            "name": "chitchat",
            "max_size": 4000,
            "max_length": 12,
            "too_long": "drop",
            "max_buckets": 2,
        }
    )
    config.model.update(
        {
            "latent_size": 16,
            "embed_size": 96,
            "hidden_size": 128,
            "dropout_in": 0.4,
            "dropout_out": 0.2,
            "init_scale": 0.08,
        }
    )
    config.objective.update({"kl_start": 0.05, "kl_epochs": 10.0})
    config.training.update(
        {
            "epochs": 11,
            "batch_size": 32,
            "max_batches": 200,
            "optimiser": "adam",
            "learning_rate": 4e-3,
            "aggressive": True,
            "aggressive_min_epochs": 11,
            "inner_optimiser": "adam",
            "inner_learning_rate": 3e-3,
            "inner_window": 2,
            "inner_max_updates": 5,
        }
    )
    config.evaluation.update({"iw_samples": 500, "iw_examples": 200})
    return config


if __name__ == "__main__":
    main(__file__, get_task("text"))
