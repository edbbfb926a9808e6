"""PTB at Li et al.'s (2019) size, aggressive, for an hour of one CPU core: few epochs, said so.

    python -m jvae.experiments.ptb --config=experiments/configs/ptb/hour_aggressive.py \
        --workdir=runs/y

An epoch of aggressive.py alone takes longer than that: here an "epoch" is 500 batches of 1,315, the
inner loop is limited to 5 updates with a window of 2, and the phase lasts throughout.
"""

from ml_collections import ConfigDict

from jvae.experiments import ptb


def get_config() -> ConfigDict:
    """A KL ramp of 1,000 batches, which are all."""
    config = ptb.get_config()
    config.objective.kl_epochs = 2.0
    config.training.update(
        {
            "epochs": 2,
            "max_batches": 500,
            "aggressive": True,
            "aggressive_min_epochs": 2,
            "inner_window": 2,
            "inner_max_updates": 5,
        }
    )
    config.evaluation.iw_examples = 300
    return config
