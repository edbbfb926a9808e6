"""He et al. (2019), Lagging Inference Networks and Posterior Collapse: aggressive training.

    python -m jvae.experiments.text --config=experiments/configs/papers/he2019.py \
        --train=yahoo.train.txt --valid=yahoo.valid.txt --test=yahoo.test.txt --workdir=RUN

Published (NLL of 500 importance samples / KL / MI / AU), all with annealing: Yahoo 326.7 / 5.7 /
2.9 / 15.0, without the inner loop 328.6 / 0.0 / 0.0 / 0.0, LSTM-LM 328.1 exact; Yelp 355.9 / 3.8 /
2.4 / 11.3, without it 357.9 / 0.0 / 0.0 / 0.0.

Their Yelp files are `label<TAB>sentence`: add `--config.data.label=True`. Yahoo's have no labels.
"""

from ml_collections import ConfigDict

from jvae.tasks.text.config import default_config


def get_config() -> ConfigDict:
    """The library's defaults are this recipe, but for the inner loop."""
    config = default_config()
    config.data.name = "text"
    config.data.max_size = 20_000
    config.training.aggressive = True
    return config
