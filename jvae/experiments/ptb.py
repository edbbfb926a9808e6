"""Penn Treebank with the model of Li et al. (2019): LSTM 256, embedding 256, 32 latents.

    python -m jvae.experiments.ptb --config=experiments/configs/ptb/aggressive.py --workdir=runs/x

Without `--config`: KL annealing and no remedy, whose published result is a collapsed model (Li et
al., 2019, as quoted by Optimus: IW-NLL 101.2, KL 0.0, AU 0). The files are downloaded, or found in
`--config.data.dir=DIR` or the environment variable JVAE_DATA_DIR.
"""

from ml_collections import ConfigDict

from jvae.runs.flags import main
from jvae.tasks import get_task
from jvae.tasks.text.config import default_config


def get_config() -> ConfigDict:
    """Returns Li et al.'s recipe (2019): KL weight 0.1 -> 1 in 10 epochs, SGD 0.5, patience 5."""
    config = default_config()
    config.data.name = "ptb"
    config.model.update({"embed_size": 256, "hidden_size": 256})
    config.training.update({"learning_rate": 0.5, "inner_learning_rate": 0.5, "patience": 5})
    return config


if __name__ == "__main__":
    main(__file__, get_task("text"))
