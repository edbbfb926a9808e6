"""The sentences and pictures of a finished text run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jvae import plots
from jvae.runs.directory import TrainedRun
from jvae.runs.task import Data
from jvae.tasks.text.use import Decoding, interpolate, reconstruct, sample_prior

STEPS = 7  # sentences of the interpolation


def show(
    run: TrainedRun,
    data: Data,
    split: str,
    results: Mapping[str, Any],
    terms: Any,
    console: Console,
    folder: Path,
) -> dict[str, Any]:
    """Prints sentences and draws the latent space, see `jvae.runs.task.Show`."""
    number = run.config.evaluation.num_examples
    examples = example_sentences(run, data.source.sentences(split)[:number])
    print_examples(console, examples)
    if results.get("latent_size", 0):
        if "kl_per_dim" in results:
            kl = np.asarray(results["kl_per_dim"])
            plots.kl_per_dimension(kl, folder / "kl_per_dimension.png")
        plots.latent_map(terms.mean, folder / "latent_map.png", data.source.labels(split))
    return examples


def example_sentences(run: TrainedRun, originals: Sequence[str]) -> dict[str, Any]:
    """Samples the prior, reconstructs `originals`, and interpolates between two of them."""
    key = jax.random.key(run.config.training.seed)
    number = run.config.evaluation.num_examples
    how = Decoding()
    examples: dict[str, Any] = {
        "prior_greedy": sample_prior(run, number, how, key=key),
        "prior_sampled": sample_prior(run, number, how._replace(strategy="sample"), key=key),
    }
    if run.config.model.mode == "lm":
        return examples
    examples["reconstructions"] = [
        {"sentence": before, "reconstruction": after}
        for before, after in zip(originals, reconstruct(run, originals, how, key=key), strict=True)
    ]
    first, second = originals[0], originals[-1]
    examples["interpolation"] = {
        "from": first,
        "to": second,
        "sentences": interpolate(run, first, second, STEPS, how, key=key),
    }
    return examples


def print_examples(console: Console, examples: Mapping[str, Any]) -> None:
    """Prints the sentences as plain text."""

    def line(text: str = "") -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    for title, name in (
        ("sentences from the prior, likeliest words", "prior_greedy"),
        ("sentences from the prior, sampled words", "prior_sampled"),
    ):
        line(f"\n{title}")
        for sentence in examples[name]:
            line(f"  {sentence}")
    if "reconstructions" in examples:
        line("\nreconstructions from the posterior mean")
        for pair in examples["reconstructions"]:
            line(f"  {pair['sentence']}\n    -> {pair['reconstruction']}")
        line("\ninterpolation between the first and the last of these")
        for sentence in examples["interpolation"]["sentences"]:
            line(f"  {sentence}")
