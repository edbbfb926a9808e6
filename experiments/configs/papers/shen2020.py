"""Shen et al. (2020), Educating Text Autoencoders: DAAE, a denoising adversarial autoencoder.

    python -m jvae.experiments.text --config=experiments/configs/papers/shen2020.py \
        --train=yelp.train.txt --valid=yelp.valid.txt --test=yelp.test.txt --workdir=RUN

No published number could be verified. What to look for: with `--config.model.denoise=` (AAE) the
neighbours of a sentence in z are arbitrary, with denoising they share words.

From the released script: vocabulary 10,000, LSTM 1024, embedding 512, z 128, dropout 0.5, Adam
5e-4, batch 256, 50 epochs; adversarial weight 10, discriminator of one layer of 512 with the same
rate; each word dropped with probability 0.3. Different here: one direction in the encoder instead
of two, Adam's first decay 0.9 instead of 0.5, gradients clipped at 5 instead of not at all.
"""

from ml_collections import ConfigDict

from jvae.tasks.text.config import default_config


def get_config() -> ConfigDict:
    """The discriminator's defaults are the source's."""
    config = default_config()
    config.data.name = "text"
    config.data.max_size = 10_000
    config.model.update({"mode": "ae", "latent_size": 128, "denoise": "drop", "denoise_rate": 0.3})
    config.objective.adversarial_weight = 10.0
    config.training.update(
        {"optimiser": "adam", "learning_rate": 5e-4, "batch_size": 256, "epochs": 50}
    )
    return config
