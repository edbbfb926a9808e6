"""PTB, LSTM 256, KL annealing alone (Li et al., 2019): the model that collapses.

    python -m jvae.experiments.ptb --config=experiments/configs/ptb/basic.py --workdir=runs/x

Published (Li et al., 2019, as quoted by Li C. et al., 2020, table 8): IW-NLL 101.24 (PPL 101.40),
-ELBO 101.28, KL 0.0, MI (corpus) 0.00, AU 0.
"""

from ml_collections import ConfigDict

from jvae.experiments import ptb


def get_config() -> ConfigDict:
    """The experiment's own default."""
    return ptb.get_config()
