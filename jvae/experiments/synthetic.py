"""The toy of He et al. (2019): sentences of a known LSTM with a 2-d latent.

    python -m jvae.experiments.synthetic

TODO
"""

from ml_collections import ConfigDict

from jvae.experiments.command import main
from jvae.experiments.config import default_config


def get_config() -> ConfigDict:
    """LSTM 50, one latent dimension (He et al., 2019, section 3.2)."""
    config = default_config()
    config.data.name = "synthetic"
    config.model.update({"latent_size": 1, "embed_size": 50, "hidden_size": 50})
    return config


if __name__ == "__main__":
    main(__file__)
