"""Your own sentences: a file of one sentence per line.

    python -m jvae.experiments.text --train=my.txt

`--valid` and `--test` name further files; without them the one file is split 90/5/5 by
`--config.data.seed`. The model and the short training are those of `jvae.experiments.chitchat`,
which two CPU cores can train; on a GPU or TPU take a larger one
(`--config.model.hidden_size=512`), more epochs and all batches (`--config.training.max_batches=0`).
Sentences of more than 50 tokens are left out, and the vocabulary has 10,000 words;
`--config.data.max_length=0 --config.data.max_size=0` lifts both limits.
"""

from ml_collections import ConfigDict

from jvae.experiments import chitchat
from jvae.runs.flags import main
from jvae.tasks import get_task

# For own sentences, whatever the experiment.
LIMITS = {"max_size": 10_000, "max_length": 50}


def get_config() -> ConfigDict:
    """Returns the chitchat recipe for the user's files."""
    config = chitchat.get_config()
    config.data.update({"name": "text", **LIMITS})
    return config


if __name__ == "__main__":
    main(__file__, get_task("text"), files=True, limits=LIMITS)
