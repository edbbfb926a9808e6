"""PTB at Li et al.'s (2019) size for an hour of one CPU core: few epochs, said so.

    python -m jvae.experiments.ptb --config=experiments/configs/ptb/hour.py --workdir=runs/x
    python -m jvae.experiments.ptb --config=experiments/configs/ptb/hour_aggressive.py \
        --workdir=runs/y

Differs from basic.py in its KL ramp, in the number of epochs and in the importance samples, which
are drawn for the first 300 test sentences only.
"""

from ml_collections import ConfigDict

from jvae.experiments import ptb


def get_config() -> ConfigDict:
    """A KL ramp of 2 epochs, so that the last ones see the full weight."""
    config = ptb.get_config()
    config.objective.kl_epochs = 2.0
    config.training.epochs = 5
    config.evaluation.iw_examples = 300
    return config
