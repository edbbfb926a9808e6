"""The toy of He et al. (2019): sentences of a known LSTM with a 2-d latent.

    python -m jvae.experiments.synthetic --workdir=runs/synthetic-aggressive
    python -m jvae.experiments.synthetic --config.training.aggressive=False \
        --workdir=runs/synthetic-basic
    python -m jvae.experiments.posterior_picture \
        --runs=runs/synthetic-basic,runs/synthetic-aggressive

The model has one latent dimension, so that its posterior can be had by a grid. The source trains 50
epochs of 1,000 batches; for two CPU cores the default here is 12 epochs of 300.
"""

from ml_collections import ConfigDict

from jvae.experiments.command import main
from jvae.experiments.config import default_config


def get_config() -> ConfigDict:
    """LSTM 50, embedding 50, one latent dimension, batch 16, SGD 1.0, KL weight 1 throughout."""
    config = default_config()
    config.data.update({"name": "synthetic", "max_buckets": 1})
    config.model.update({"latent_size": 1, "embed_size": 50, "hidden_size": 50})
    config.objective.kl_schedule = "constant"
    config.training.update({"epochs": 12, "batch_size": 16, "max_batches": 300, "aggressive": True})
    config.evaluation.iw_samples = 100
    return config


if __name__ == "__main__":
    main(__file__)
