"""Pelsmaeker and Aziz (2020), Effective Estimation of Deep Generative Language Models: MDR.

    python -m jvae.experiments.ptb --config=experiments/configs/papers/pelsmaeker2020.py \
        --workdir=RUN

Published numbers are for PTB in another preprocessing (V = 25,643) and cannot be set beside
those of Mikolov's files; from memory, not checked: about 103 nats with any method that holds a rate
near 5, against 107 for the language model.

From their released configuration: rate 5, the multiplier by RMSprop at the model's rate, Adam 1e-3,
clipping at 1.5, batch 64, dropout 0.4, z 32, 1,024 importance samples. Different here: one LSTM
layer each way instead of two GRU layers (the encoder's in both directions), no tied embeddings.
"""

from ml_collections import ConfigDict

from jvae.experiments import ptb


def get_config() -> ConfigDict:
    """A minimum desired rate of 5 nats."""
    config = ptb.get_config()
    config.model.update({"dropout_in": 0.4, "dropout_out": 0.4})
    config.objective.update(
        {
            "kl_schedule": "constant",
            "rate_control": "minimum_rate",
            "minimum_rate": {"rate": 5.0, "learning_rate": 1e-3},
        }
    )
    config.training.update(
        {"optimiser": "adam", "learning_rate": 1e-3, "clip_norm": 1.5, "batch_size": 64}
    )
    config.evaluation.iw_samples = 1024
    return config
