"""Li et al. (2019), A Surprisingly Effective Fix: an autoencoder first, then free bits.

    python -m jvae.experiments.ptb --config=experiments/configs/papers/li2019.py --workdir=RUN

Published for PTB (as quoted by Li C. et al., 2020, table 8): IW-NLL 100.24, PPL 96.86, -ELBO
102.41, KL 6.54, MI 5.31, AU 32. Beside it: LSTM-LM 101.04 exact; annealing alone 101.24, AU 0;
cyclical 102.79, AU 5; aggressive 100.90, AU 4.

From the released scripts: LSTM 256, embedding 256, z 32, SGD 0.5, both phases of at most 100
epochs; the decoder and the optimiser start anew; 8 nats free, a quarter for each dimension of each
sentence; KL weight from 0 to 1 in 10 epochs.
"""

from ml_collections import ConfigDict

from jvae.experiments import ptb


def get_config() -> ConfigDict:
    """Two phases."""
    config = ptb.get_config()
    config.training.pretrain_epochs = 100
    config.objective.update({"loss": "free_bits", "free_bits": {"target": 8.0}, "kl_start": 0.0})
    return config
