"""Yang et al. (2017), Improved Variational Autoencoders for Text Modeling: dilated convolutions.

    python -m jvae.experiments.text --config=experiments/configs/papers/yang2017.py \
        --train=yahoo.train.txt --valid=yahoo.valid.txt --test=yahoo.test.txt --workdir=RUN

Published for Yahoo (as quoted by He et al., 2019): -ELBO at most 332.1, KL 10.0 for size L with an
encoder initialised by a language model. From memory, not checked: S 335.9 (13.9), M 334.6 (12.6),
VL 335.9 (3.8). Without that initialisation, which jvae has not, expect a lower KL.

The set-up (LSTM encoder 1024, embedding 512, z 32, Adam 2e-3, dropout 0.3) is from memory too.
"""

from ml_collections import ConfigDict

from jvae.tasks.text.config import default_config


def get_config() -> ConfigDict:
    """Size L; `--config.model.cnn.size=S` and so on for the others."""
    config = default_config()
    config.data.name = "text"
    config.data.max_size = 20_000
    config.model.update(
        {"decoder": "cnn", "cnn": {"size": "L"}, "dropout_in": 0.3, "dropout_out": 0.3}
    )
    config.objective.kl_start = 0.0
    config.training.update({"optimiser": "adam", "learning_rate": 2e-3})
    return config
