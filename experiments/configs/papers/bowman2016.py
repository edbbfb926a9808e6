"""Bowman et al. (2016), Generating Sentences from a Continuous Space: annealing and word dropout.

    python -m jvae.experiments.ptb --config=experiments/configs/papers/bowman2016.py --workdir=RUN

Published for PTB (table 2, test; the ELBO for the VAE, exact for the RNNLM; their tokenisation):
RNNLM NLL 100, PPL 116; VAE -ELBO 101, KL 2, PPL 119; without the decoder's inputs (word_dropout 1)
RNNLM above 135, PPL above 600; VAE -ELBO 125, KL 15, PPL 380.

From the paper: sigmoid KL annealing; a tuned word dropout. Not stated there, hence ours: the sizes
(Li et al.'s, 2019), the midpoint, a quarter of the words dropped (their figure's keep rate 75 %).
"""

from ml_collections import ConfigDict

from jvae.experiments import ptb


def get_config() -> ConfigDict:
    """A logistic ramp whose middle is at the fifth epoch."""
    config = ptb.get_config()
    config.model.word_dropout = 0.25
    config.objective.update(
        {
            "kl_schedule": "logistic",
            "kl_epochs": 5.0,
            "logistic": {"steepness": 0.0025},
            "kl_start": 0.0,
        }
    )
    return config
