"""A linear classifier on the latent vectors, beside the baselines that it must beat."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jvae.errors import UserError

RESAMPLES = 2000  # of the bootstrap


class Labelled(NamedTuple):
    """Labelled sentences.

    Attributes:
      latents: `[N, L]`.
      tokens: N lists of token numbers, for the bag of words.
      labels: N texts.
    """

    latents: np.ndarray
    tokens: Sequence[Sequence[int]]
    labels: Sequence[str]


class Score(NamedTuple):
    """Agreement of predictions with the labels, with standard errors over sentences.

    Attributes:
      accuracy: share of sentences.
      accuracy_se: its standard error.
      macro_f1: mean over labels of `2 P R / (P + R)`.
      macro_f1_se: its standard error.
    """

    accuracy: float
    accuracy_se: float
    macro_f1: float
    macro_f1_se: float


def linear_probe(
    train: Labelled, test: Labelled | None, *, folds: int, seed: int
) -> dict[str, Score]:
    """Scores of three classifiers: of the latents, of the bag of words, and the majority label.

    The first two are logistic regressions with scikit-learn's penalty (C = 1), of standardised
    latents and of word counts: a z worth its name comes near the bag of words with far fewer
    numbers, or beats it where labels are few.

    Args:
      train: what they are trained on.
      test: what they are measured on; None to predict each sentence of `train` by classifiers
        that were trained without its fold.
      folds: of the cross-validation, with the labels spread evenly.
      seed: of folds and bootstrap.

    Raises:
      UserError: too few labels or sentences of one.
    """
    names, counts = np.unique(list(train.labels), return_counts=True)
    if len(names) < 2:
        raise UserError(
            f"all labels are {str(names[0])!r}: a probe needs sentences of two at least"
        )
    if test is None and counts.min() < folds:
        rarest = str(names[counts.argmin()])
        raise UserError(
            f"label {rarest!r} has too few sentences ({counts.min()}) for {folds} folds: take "
            "fewer folds, or name a file of test sentences, or leave the label out"
        )

    def score(make: Any, field: str) -> Score:
        inputs = getattr(train, field)
        if test is None:
            split = StratifiedKFold(folds, shuffle=True, random_state=seed)
            predicted = cross_val_predict(make, inputs, train.labels, cv=split)
            return agreement(train.labels, predicted, seed=seed)
        predicted = make.fit(inputs, train.labels).predict(getattr(test, field))
        return agreement(test.labels, predicted, seed=seed)

    def regression() -> LogisticRegression:
        return LogisticRegression(max_iter=5000)

    words = CountVectorizer(analyzer=_as_they_are)
    return {
        "latent": score(make_pipeline(StandardScaler(), regression()), "latents"),
        "bag of words": score(make_pipeline(words, regression()), "tokens"),
        "majority": score(DummyClassifier(strategy="most_frequent"), "latents"),
    }


def _as_they_are(tokens: Sequence[int]) -> Sequence[int]:
    return tokens


def agreement(labels: ArrayLike, predicted: ArrayLike, *, seed: int) -> Score:
    """Computes accuracy and macro F1 with bootstrap errors.

    Both follow from the confusion matrix alone, so that a resampled corpus is a draw of N from the
    multinomial of its cells. Labels that neither occur nor are predicted do not count.

    Args:
      labels: `[N]`, the true ones.
      predicted: `[N]`.
      seed: of the bootstrap.
    """
    names, cells = np.unique(np.stack([labels, predicted]), return_inverse=True)
    matrix = np.zeros((len(names), len(names)), np.int64)
    np.add.at(matrix, tuple(cells.reshape(2, -1)), 1)
    total = matrix.sum()
    draws = np.random.default_rng(seed).multinomial(total, matrix.ravel() / total, RESAMPLES)
    resampled = _scores(draws.reshape(-1, *matrix.shape))
    accuracy, macro_f1 = (float(score) for score in _scores(matrix))
    accuracy_se, macro_f1_se = (float(np.std(scores)) for scores in resampled)
    return Score(accuracy, accuracy_se, macro_f1, macro_f1_se)


def _scores(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes accuracy and macro F1 of confusion matrices `[.., C, C]`."""
    right = np.diagonal(matrix, axis1=-2, axis2=-1)
    either = matrix.sum(axis=-1) + matrix.sum(axis=-2)
    f1 = 2 * right / np.maximum(either, 1)
    return right.sum(-1) / matrix.sum((-2, -1)), f1.sum(-1) / (either > 0).sum(-1)
