"""Latent vectors at work on the user's sentences: the lines that `jvae` prints."""

from collections.abc import Sequence

import numpy as np

from jvae.data.files import Rows
from jvae.evaluation.geometry import cluster_agreement, clusters, nearest
from jvae.evaluation.probe import Labelled, linear_probe
from jvae.runs.directory import TrainedRun
from jvae.tasks.text.impute import Fillings
from jvae.tasks.text.use import encode
from jvae.types import Key


def neighbours(
    run: TrainedRun,
    sentences: Sequence[str],
    queries: Sequence[str],
    number: int,
    metric: str,
    *,
    key: Key,
) -> list[str]:
    """Writes each query, then its nearest sentences: distance, tab, sentence.

    Args:
      run: trained.
      sentences: to search; equal ones count once.
      queries: whose neighbours are sought.
      number: neighbours for each.
      metric: see `jvae.evaluation.geometry.nearest`.
      key: of the encoder's samples, which are not used.
    """
    distinct = list(dict.fromkeys(sentences))
    means = np.asarray(encode(run, [*queries, *distinct], key=key).mean)
    found = nearest(means[len(queries) :], means[: len(queries)], number, metric)
    lines = []
    for query, distances, rows in zip(queries, *found, strict=True):
        lines.append(query)
        lines += [f"{d:.3f}\t{distinct[r]}" for d, r in zip(distances, rows, strict=True)]
    return lines


def cluster(
    run: TrainedRun, rows: Rows, number: int, typical: int, *, seed: int, key: Key
) -> list[str]:
    """Writes clusters with typical sentences, and their agreement with labels if there are any.

    Args:
      run: trained.
      rows: sentences.
      number: of clusters.
      typical: different sentences shown for each.
      seed: of k-means.
      key: of the encoder's samples, which are not used.
    """
    means = np.asarray(encode(run, rows.sentences, key=key).mean)
    found, members = clusters(means, number, seed=seed)
    lines = []
    if rows.labels is not None:
        agreement = cluster_agreement(rows.labels, members)
        shown = ", ".join(f"{name} {value:.3f}" for name, value in agreement.items())
        kinds = len(set(rows.labels))
        lines.append(f"{shown}; {len(means):,} sentences, {kinds} labels, {number} clusters")
    for place, numbers in enumerate(found, start=1):
        lines.append(f"cluster {place}, {len(numbers):,} sentences")
        nearby = dict.fromkeys(rows.sentences[row] for row in numbers)
        lines += [f"  {sentence}" for sentence in list(nearby)[:typical]]
    return lines


def probe(
    run: TrainedRun, train: Rows, test: Rows | None, folds: int, *, seed: int, key: Key
) -> list[str]:
    """Writes the table of `linear_probe` on posterior means.

    Args:
      run: trained.
      train: labelled sentences.
      test: see `linear_probe`, as for `folds` and `seed`.
      folds: of the cross-validation.
      seed: of folds and errors.
      key: of the encoder's samples, which are not used.
    """
    parts = [train] if test is None else [train, test]
    sentences = [sentence for part in parts for sentence in part.sentences]
    means = np.asarray(encode(run, sentences, key=key).mean)
    longest = run.config.data.max_length or None

    def labelled(part: Rows, latents: np.ndarray) -> Labelled:
        # The words that the encoder read, and no more.
        tokens = [run.resources.encode(sentence)[:longest] for sentence in part.sentences]
        return Labelled(latents, tokens, part.labels or [])

    size = len(train.sentences)
    held_out = None if test is None else labelled(test, means[size:])
    scores = linear_probe(labelled(train, means[:size]), held_out, folds=folds, seed=seed)
    how = f"{folds}-fold cross-validation" if test is None else f"{len(means) - size:,} for test"
    kinds = len(set(train.labels or []))
    units = means.shape[1]
    lines = [f"{size:,} sentences, {kinds} labels, {how}; {units} latent units"]
    lines.append(f"{'':14}{'accuracy':>16}{'macro F1':>18}")
    for name, score in scores.items():
        accuracy = f"{score.accuracy:.3f} ± {score.accuracy_se:.3f}"
        macro_f1 = f"{score.macro_f1:.3f} ± {score.macro_f1_se:.3f}"
        lines.append(f"{name:14}{accuracy:>16}{macro_f1:>18}")
    return lines


def filled_lines(found: Sequence[Fillings], number: int) -> list[str]:
    """Writes each sentence's best filling; for a `number` above 1 so many: share, tab, filling."""
    if number == 1:
        return [one.sentences[0] for one in found]
    return [
        f"{share:.3f}\t{sentence}"
        for one in found
        for share, sentence in list(zip(one.share, one.sentences, strict=True))[:number]
    ]
