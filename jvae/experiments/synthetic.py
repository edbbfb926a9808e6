"""The toy of He et al. (2019): sentences of a known LSTM with a 2-d latent.

    python -m jvae.experiments.synthetic --workdir=runs/synthetic-aggressive
    python -m jvae.experiments.synthetic --config.training.aggressive=False \
        --workdir=runs/synthetic-basic
    python -m jvae.experiments.posterior_picture \
        --runs=runs/synthetic-basic,runs/synthetic-aggressive

The model has one latent dimension, so that its posterior can be had by a grid. In our draw of the
corpus the latent is worth little (to know the cluster gains 1.6 nats and costs 1.4), and with the
source's settings (SGD, dropout 0.5, KL weight 1 from the start) neither aggressive training nor an
autoencoder finds it. The defaults here are Adam, no dropout and a KL weight from 0 to 1 over 8 of
12 epochs; the inner loop makes at most 5 updates, with a window of 2.
"""

from ml_collections import ConfigDict

from jvae.runs.flags import main
from jvae.tasks import get_task
from jvae.tasks.text.config import default_config


def get_config() -> ConfigDict:
    """Makes a configuration: LSTM 50, embedding 50, one latent dimension, batch 16."""
    config = default_config()
    config.data.update({"name": "synthetic", "max_buckets": 1})
    config.model.update(
        {
            "latent_size": 1,
            "embed_size": 50,
            "hidden_size": 50,
            "dropout_in": 0.0,
            "dropout_out": 0.0,
        }
    )
    config.objective.update({"kl_start": 0.0, "kl_epochs": 8.0})
    config.training.update(
        {
            "epochs": 12,
            "batch_size": 16,
            "optimiser": "adam",
            "learning_rate": 2e-3,
            "aggressive": True,
            "aggressive_min_epochs": 12,
            "inner_optimiser": "adam",
            "inner_learning_rate": 2e-3,
            "inner_window": 2,
            "inner_max_updates": 5,
        }
    )
    config.evaluation.iw_samples = 100
    return config


if __name__ == "__main__":
    main(__file__, get_task("text"))
