"""Fu et al. (2019), Cyclical Annealing Schedule: the KL weight rises again and again.

    python -m jvae.experiments.ptb --config=experiments/configs/papers/fu2019.py --workdir=RUN

Published for PTB at Li et al.'s (2019) size (as quoted by Li C. et al., 2020): IW-NLL 102.79, PPL
108.81, -ELBO 102.81, KL 1.37, MI 1.27, AU 5; with one ramp instead 101.24, 101.40, KL 0, AU 0.

From the source: 4 cycles that fill the training, half of each rising, linear, from 0 to 1. Ours:
cycles of 10 epochs, hence 40 epochs, and then up to 20 more at weight 1.
"""

from ml_collections import ConfigDict

from jvae.experiments import ptb


def get_config() -> ConfigDict:
    """Four cycles of 10 epochs, then weight 1."""
    config = ptb.get_config()
    config.objective.update(
        {"kl_schedule": "cyclical", "kl_start": 0.0, "kl_epochs": 10.0, "cyclical": {"cycles": 4}}
    )
    # The rate is not halved before the last cycle: early ones look worse by design.
    config.training.update({"epochs": 60, "warm_epochs": 40})
    return config
