"""A neural variational document model (NVDM) on bags of words.

    python -m jvae.experiments.documents
    python -m jvae.experiments.documents --train=my.txt
    python -m jvae.experiments.documents --train=train.feat --test=test.feat \
        --config.data.words=vocab.txt

Without files a document is a conversation of the embedded corpus chitchat. A text file has a
document a line; a sparse file has lines `label index:count ..`, whose indices start at 1. The best
epoch is chosen on a part of the training documents.

Miao, Yu and Blunsom (2016), Neural Variational Inference for Text Processing. Their alternating
updates of encoder and decoder (Adam 5e-5) are joint ones here (Adam 1e-3), which reach the same
perplexity in a hundredth of the epochs.
"""

from ml_collections import ConfigDict

from jvae.runs.flags import main
from jvae.tasks import get_task
from jvae.tasks.documents.task import documents_config


def get_config() -> ConfigDict:
    """Makes a configuration: fifty dimensions, forty epochs."""
    config = documents_config()
    config.training.update(
        {
            "epochs": 40,
            "batch_size": 200,
            "optimiser": "adam",
            "learning_rate": 1e-3,
            "patience": 5,
        }
    )
    config.evaluation.update({"iw_samples": 100, "iw_batch_size": 64})
    return config


if __name__ == "__main__":
    main(__file__, get_task("documents"), files=True, prefix="documents-")
