"""The sentences and pictures of a finished text run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jvae import plots
from jvae.batch import UNK
from jvae.evaluation.geometry import clusters, nearest
from jvae.runs.directory import TrainedRun
from jvae.runs.task import Data
from jvae.tasks.text.use import Decoding, interpolate, reconstruct, sample_prior

STEPS = 7  # sentences of the interpolation
LEAST_WORDS = 4  # of a sentence that is shown, where there are enough
CLUSTERS, SHOWN_CLUSTERS, TYPICAL = 12, 3, 4
TEMPERATURE = 0.5  # of sampled words: at 1 a small model's sentences lose their thread


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
    sentences = data.source.sentences(split)
    rows = rows_to_show(run, sentences, run.config.evaluation.num_examples)
    examples = example_sentences(run, [sentences[row] for row in rows])
    if results.get("latent_size", 0):
        means = np.asarray(terms.mean)
        examples |= {
            "neighbours": nearest_others(sentences, means, rows),
            "clusters": typical_of_clusters(run, sentences, means),
        }
        if "kl_per_dim" in results:
            kl = np.asarray(results["kl_per_dim"])
            plots.kl_per_dimension(kl, folder / "kl_per_dimension.png")
        plots.latent_map(terms.mean, folder / "latent_map.png", data.source.labels(split))
    print_examples(console, examples)
    return examples


def is_known(run: TrainedRun, sentence: str) -> bool:
    """Tells whether the vocabulary has all words of a sentence."""
    return UNK not in run.resources.encode(sentence)


def rows_to_show(run: TrainedRun, sentences: Sequence[str], number: int) -> list[int]:
    """Returns the first sentences that differ, have known words only, and are not too short.

    Where there are too few of them, the first other sentences follow.
    """
    first = {sentence: row for row, sentence in reversed(list(enumerate(sentences)))}
    others: list[int] = []
    found: list[int] = []
    for sentence, row in sorted(first.items(), key=lambda item: item[1]):
        good = len(run.resources.encode(sentence)) >= LEAST_WORDS and is_known(run, sentence)
        (found if good else others).append(row)
        if len(found) == number:
            break
    return (found + others)[:number]


def example_sentences(run: TrainedRun, originals: Sequence[str]) -> dict[str, Any]:
    """Samples the prior, reconstructs `originals`, and interpolates between two of them."""
    key = jax.random.key(run.config.training.seed)
    number = run.config.evaluation.num_examples
    # Greedy words are duller: they follow the commonest beginning.
    how = Decoding(strategy="beam")
    sampled = how._replace(strategy="sample", temperature=TEMPERATURE)
    examples: dict[str, Any] = {
        "prior_likeliest": sample_prior(run, number, how, key=key),
        "prior_sampled": sample_prior(run, number, sampled, key=key),
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


def nearest_others(
    sentences: Sequence[str], means: np.ndarray, rows: Sequence[int]
) -> list[str | None]:
    """Returns for each of `rows` the sentence of the nearest posterior mean, if another has one."""
    _, found = nearest(means, means[np.asarray(rows, int)], len(rows) + 20, "euclidean")
    return [
        next((sentences[i] for i in near.tolist() if sentences[i] != sentences[row]), None)
        for row, near in zip(rows, found, strict=True)
    ]


def typical_of_clusters(
    run: TrainedRun, sentences: Sequence[str], means: np.ndarray
) -> list[dict[str, Any]]:
    """Returns the size and the central sentences of the largest of twelve clusters of means."""
    number = min(CLUSTERS, len(np.unique(means, axis=0)))
    found, _ = clusters(means, number, seed=run.config.training.seed)
    shown = []
    for members in found[:SHOWN_CLUSTERS]:
        central = dict.fromkeys(sentences[row] for row in members.tolist()[: 20 * TYPICAL])
        known = [sentence for sentence in central if is_known(run, sentence)]
        shown.append({"size": len(members), "sentences": known[:TYPICAL]})
    return shown


def print_examples(console: Console, examples: Mapping[str, Any]) -> None:
    """Prints the sentences as plain text."""

    def line(text: str = "") -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    for title, name in (
        ("sentences from the prior, by beam search", "prior_likeliest"),
        (f"sentences from the prior, sampled words, temperature {TEMPERATURE}", "prior_sampled"),
    ):
        line(f"\n{title}")
        for sentence in examples[name]:
            line(f"  {sentence}")
    if "reconstructions" in examples:
        pairs = examples["reconstructions"]
        near = examples.get("neighbours", [None] * len(pairs))
        line("\nreconstructions (->) by beam search, and the nearest other sentence (~)")
        for pair, neighbour in zip(pairs, near, strict=True):
            line(f"  {pair['sentence']}\n    -> {pair['reconstruction']}")
            if neighbour is not None:
                line(f"    ~  {neighbour}")
        line("\ninterpolation between the first and the last of these")
        for sentence in examples["interpolation"]["sentences"]:
            line(f"  {sentence}")
    for place, cluster in enumerate(examples.get("clusters", ()), start=1):
        line(f"\ncluster {place} of the posterior means, {cluster['size']:,} sentences")
        for sentence in cluster["sentences"]:
            line(f"  {sentence}")
