r"""PTB, LSTM 256: an autoencoder first, then free bits with a fresh decoder (Li et al., 2019).

    python -m jvae.experiments.ptb --workdir=runs/x \
        --config=experiments/configs/ptb/pretrain_free_bits.py

Both phases as in the released scripts: at most 100 epochs each, fewer after five halvings; then 8
nats free, a quarter of a nat for each dimension, and the KL weight from 0 to 1 in 10 epochs.

Published (Li et al., 2019, as quoted by Li C. et al., 2020, table 8): IW-NLL 100.24 (PPL 96.86),
-ELBO 102.41, KL 6.54, MI (corpus) 5.31, AU 32.
"""

from ml_collections import ConfigDict

from jvae.experiments import ptb


def get_config() -> ConfigDict:
    """The basic recipe after a first phase, with free bits."""
    config = ptb.get_config()
    config.training.pretrain_epochs = 100
    config.objective.update({"loss": "free_bits", "free_bits": 8.0, "kl_start": 0.0})
    return config
