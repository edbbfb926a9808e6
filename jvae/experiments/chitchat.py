"""The embedded corpus: short lines of everyday chat, ready after `pip install`.

    python -m jvae.experiments.chitchat

Trains a small LSTM VAE in five minutes on two CPU cores. Soft free bits (Chen et al., 2017) hold
the KL at 4 nats or more, and the prior is fitted to the posteriors at the end. To keep it short,
sentences of more than 12 tokens are left out, and an "epoch" is 200 random batches of 128
sentences: the model sees each sentence two or three times, and needs hardly any dropout. The
options were chosen on the validation split, see `experiments/results/chitchat.md`.

For the real thing, on a GPU or TPU: `--config.data.max_length=0 --config.training.max_batches=0
--config.training.epochs=30 --config.training.cosine_epochs=30 --config.model.hidden_size=512
--config.model.dropout_in=0.5 --config.model.dropout_out=0.5`.
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
            "prior": "fitted_normal",
            "latent_size": 16,
            "embed_size": 96,
            "hidden_size": 128,
            "dropout_in": 0.0,
            "dropout_out": 0.05,
            "init_scale": 0.08,
        }
    )
    config.objective.update({"kl_schedule": "constant", "rate_control": "soft_free_bits"})
    config.objective.soft_free_bits.update({"rate": 4.1, "factor": 1.01})
    config.training.update(
        {
            "epochs": 11,
            "batch_size": 128,
            "max_batches": 200,
            "optimiser": "adam",
            "learning_rate": 6e-3,
            "cosine_epochs": 11.0,
        }
    )
    config.evaluation.update({"iw_samples": 500, "iw_examples": 200})
    return config


if __name__ == "__main__":
    main(__file__, get_task("text"))
