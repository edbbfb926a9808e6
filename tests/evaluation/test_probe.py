"""The probe on latents whose answer is known, its figures and errors against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from jvae.errors import UserError
from jvae.evaluation.probe import Labelled, agreement, linear_probe

LABELS = ["good", "bad", "none"]


def labelled(number: int, *, seed: int, z_says: bool, words_say: bool) -> Labelled:
    """Three labels, of shares 1/2, 1/3 and 1/6, told by z, by the words, or by neither."""
    rng = np.random.default_rng(seed)
    kind = np.repeat([0, 0, 0, 1, 1, 2], number // 6)
    latents = rng.normal(size=(len(kind), 4)) * [1, 100, 0.01, 1]  # of different scales
    if z_says:
        # Of small scale beside the second unit: not told apart without standardising.
        latents[:, 2] += 0.1 * kind
    tokens = rng.integers(10, 20, (len(kind), 5))
    if words_say:
        tokens[:, 0] = kind
    return Labelled(latents, tokens.tolist(), [LABELS[k] for k in kind])


def test_each_classifier_finds_what_is_there_and_nothing_else():
    for z_says, words_say in ((True, False), (False, True)):
        data = labelled(240, seed=0, z_says=z_says, words_say=words_say)
        scores = linear_probe(data, None, folds=4, seed=1)
        assert list(scores) == ["latent", "bag of words", "majority"]
        knows, guesses = ("latent", "bag of words")[:: 1 if z_says else -1]
        assert scores[knows].accuracy > 0.98 and scores[knows].macro_f1 > 0.98
        # What it was not trained on: a classifier of noise is no better than the majority.
        assert scores[guesses].accuracy < 0.5 + 3 * scores[guesses].accuracy_se
        assert scores["majority"].accuracy == 0.5
        # Precision 1/2 and recall 1 for one label, nothing for the others.
        np.testing.assert_allclose(scores["majority"].macro_f1, (2 / 3) / 3)


def test_a_test_file_is_what_is_measured():
    train = labelled(120, seed=0, z_says=True, words_say=False)
    other = labelled(60, seed=1, z_says=True, words_say=False)
    wrong = other._replace(labels=[*other.labels[1:30], *["new"] * 31])
    assert linear_probe(train, other, folds=2, seed=0)["latent"].accuracy == 1
    assert linear_probe(train, wrong, folds=2, seed=0)["latent"].accuracy == 29 / 60


def test_figures_are_scikit_learns_and_errors_those_of_resampled_sentences():
    rng = np.random.default_rng(0)
    labels = rng.choice(LABELS, 300, p=[0.6, 0.3, 0.1])
    predicted = np.where(rng.uniform(size=300) < 0.7, labels, rng.choice([*LABELS, "odd"], 300))
    score = agreement(labels, predicted, seed=0)
    np.testing.assert_allclose(score.accuracy, accuracy_score(labels, predicted))
    np.testing.assert_allclose(score.macro_f1, f1_score(labels, predicted, average="macro"))
    binomial = np.sqrt(score.accuracy * (1 - score.accuracy) / 300)
    np.testing.assert_allclose(score.accuracy_se, binomial, rtol=0.06)
    resampled = []
    for _ in range(300):
        rows = rng.integers(0, 300, 300)
        resampled.append(f1_score(labels[rows], predicted[rows], average="macro"))
    np.testing.assert_allclose(score.macro_f1_se, np.std(resampled), rtol=0.15)
    assert agreement(labels, labels, seed=0) == (1.0, 0.0, 1.0, 0.0)


def test_too_few_labels():
    data = labelled(12, seed=0, z_says=True, words_say=False)
    with pytest.raises(UserError, match=r"label 'none' has too few sentences \(2\) for 3 folds"):
        linear_probe(data, None, folds=3, seed=0)
    same = data._replace(labels=["good"] * 12)
    with pytest.raises(UserError, match="all labels are 'good'"):
        linear_probe(same, None, folds=3, seed=0)
