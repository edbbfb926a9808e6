"""The synthetic corpus of He et al. 2019: sentences whose true latents are known."""

import dataclasses

import tensorflow_datasets as tfds

from jvae.data import generator
from jvae.data.builder import SPLITS, Contents, SentenceBuilder


@dataclasses.dataclass(eq=False)
class SyntheticConfig(tfds.core.BuilderConfig):
    """The seed and how many sentences each split has; `name` spells both."""

    seed: int = 0
    sizes: tuple[int, int, int] = (16000, 2000, 2000)


class Synthetic(SentenceBuilder):
    """Sentences of ten words, drawn from a random LSTM given a 2-d latent of four clusters."""

    columns = ("sentences", "latents")

    def contents(self) -> Contents:
        """Draws the sentences."""
        seed, sizes = self.builder_config.seed, self.builder_config.sizes
        parameters = generator.parameters(seed)
        splits = {}
        for split, size in zip(SPLITS, sizes, strict=True):
            latents, words = generator.draw(parameters, seed, split, size)
            sentences = [" ".join(generator.WORDS[w] for w in row) for row in words]
            splits[split] = {"sentences": sentences, "latents": latents}
        counts = " / ".join(f"{size:,}" for size in sizes)
        return Contents(splits, (f"drawn from a random LSTM, seed {seed}: {counts} sentences",))
