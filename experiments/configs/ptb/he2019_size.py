"""PTB with the model size of He et al. (2019): LSTM 1024, embedding 512, aggressive. For a GPU.

    python -m jvae.experiments.ptb --config=experiments/configs/ptb/he2019_size.py

No published number at this size on PTB; the recipe is the one of their Yahoo and Yelp runs.
"""

from ml_collections import ConfigDict

from jvae.experiments import ptb
from jvae.tasks.text.config import default_config


def get_config() -> ConfigDict:
    """The library's defaults are that recipe."""
    config = default_config()
    config.data.name = ptb.get_config().data.name
    config.training.aggressive = True
    return config
