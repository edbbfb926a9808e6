"""PTB, LSTM 256, aggressive encoder training (He et al., 2019) at Li et al.'s (2019) size.

    python -m jvae.experiments.ptb --config=experiments/configs/ptb/aggressive.py --workdir=runs/x

Published (Li et al., 2019, as quoted by Li C. et al., 2020, table 8): IW-NLL 100.90 (PPL 99.83),
-ELBO 101.19, KL 0.93, MI (corpus) 0.83, AU 4.
"""

from ml_collections import ConfigDict

from jvae.experiments import ptb


def get_config() -> ConfigDict:
    """The basic recipe plus the inner loop."""
    config = ptb.get_config()
    config.training.aggressive = True
    return config
