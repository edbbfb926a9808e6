"""PTB at Li et al.'s (2019) size for half an hour of two CPU cores: few epochs, said so.

    python -m jvae.experiments.ptb --config=experiments/configs/ptb/hour.py --workdir=runs/x

Differs from basic.py in the number of epochs and in the importance samples' share of the test
split. With `--config.training.aggressive=True` it is the short form of aggressive.py.
"""

from ml_collections import ConfigDict

from jvae.experiments import ptb


def get_config() -> ConfigDict:
    """A KL ramp of 2 epochs, so that the last ones see the full weight."""
    config = ptb.get_config()
    config.objective.kl_epochs = 2.0
    config.training.epochs = 6
    config.evaluation.update({"iw_samples": 100, "iw_sentences": 300})
    return config
