"""Compares remedies on one corpus: several methods, one evaluation, one report.

    python -m jvae.experiments.compare --methods=vae,anneal,cyclical,aggressive --seeds=0,1
    jvae compare --train=my.txt --methods=vae,aggressive

Each method and seed is a run of its own below the run directory. The same command resumes it or,
once it is finished, reads it; methods with the same pretraining share it. A language model (the
same decoder without a latent) and an autoencoder of each decoder are trained too: the likelihood to
beat, and the reconstruction to approach. The default is chitchat in small batches;
`--config.training.max_batches=0 --config.data.max_length=0` takes the whole corpus. Own sentences
have up to 50 tokens and 10,000 words. A base (`--config=FILE`) gives data, sizes and training
budget, and none of its remedies; a field beside it (`--config.model.word_dropout=0.3`) holds for
every method that does not set it itself.
"""

from ml_collections import ConfigDict

from jvae.compare.main import main
from jvae.experiments import chitchat, text
from jvae.tasks import get_task


def get_config() -> ConfigDict:
    """Returns the corpus, sizes and budget of updates, of which each method changes its fields.

    Many runs follow, some with an inner loop: batches are small, and the inner loop makes at most 5
    updates with a window of 2, where He et al. (2019) allow 100 with a window of 15.
    """
    config = chitchat.get_config()
    config.model.update({"prior": "standard_normal", "dropout_in": 0.4, "dropout_out": 0.2})
    config.objective.update({"rate_control": "", "kl_schedule": "linear"})
    config.objective.update({"kl_start": 0.05, "kl_epochs": 10.0})
    config.training.update(
        {
            "batch_size": 32,
            "learning_rate": 4e-3,
            "cosine_epochs": 0.0,
            "inner_optimiser": "adam",
            "inner_learning_rate": 3e-3,
            "inner_window": 2,
            "inner_max_updates": 5,
        }
    )
    return config


if __name__ == "__main__":
    main(__file__, get_task("text"), files=True, limits=text.LIMITS)
