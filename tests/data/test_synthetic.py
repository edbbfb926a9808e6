import numpy as np
import pytest

from jvae.data import generator
from jvae.data.corpora import load_corpus
from jvae.errors import UserError

SIZES = {"num_train": 300, "num_valid": 40, "num_test": 50}


def load(tmp_path, **options):
    return load_corpus("synthetic", cache_dir=str(tmp_path), **{**SIZES, **options})


def test_shapes_and_words(tmp_path):
    corpus = load(tmp_path)
    assert {k: len(v) for k, v in corpus.sentences.items()} == {
        "train": 300,
        "valid": 40,
        "test": 50,
    }
    for split, sentences in corpus.sentences.items():
        assert all(len(s.split()) == 10 for s in sentences)
        assert {w for s in sentences for w in s.split()} <= set(generator.WORDS)
        assert corpus.latents[split].shape == (len(sentences), 2)
    assert len(generator.WORDS) == 1000


def test_seed_decides(tmp_path):
    first, other = load(tmp_path / "a"), load(tmp_path / "a", seed=1)
    again = load(tmp_path / "b")
    assert first.fingerprint == again.fingerprint != other.fingerprint
    np.testing.assert_array_equal(first.latents["train"], again.latents["train"])


def test_splits_do_not_depend_on_each_other_and_latents_stay_with_sentences(tmp_path):
    small, large = load(tmp_path), load(tmp_path, num_train=1300)
    assert small.sentences["test"] == large.sentences["test"]
    np.testing.assert_array_equal(small.latents["test"], large.latents["test"])
    # Over a record's end: the sentences' own latents explain them, those of others do not.
    params = generator.parameters(0)
    words = np.array([[int(w[1:]) for w in s.split()] for s in large.sentences["train"][900:1100]])
    latents = large.latents["train"][900:1100]
    own = generator.log_likelihood(params, latents, words)
    shuffled = generator.log_likelihood(params, np.roll(latents, 1, axis=0), words)
    assert own.mean() - shuffled.mean() > 5 * np.std(own - shuffled) / np.sqrt(len(own))


def test_latents_are_the_mixture():
    latents, _ = generator.draw(generator.parameters(0), 0, "train", 4000)
    quadrants = np.unique(latents > 0, axis=0, return_counts=True)[1]
    assert len(quadrants) == 4
    assert np.all(np.abs(quadrants - 1000) < 4 * np.sqrt(4000 * 0.25 * 0.75))
    # Mean 0 and variance 1 + 2^2 in each dimension, with the sample's own error bars.
    errors = latents.std(0) / np.sqrt(len(latents))
    assert np.all(np.abs(latents.mean(0)) < 4 * errors)
    squares = latents**2
    assert np.all(np.abs(squares.mean(0) - 5) < 4 * squares.std(0) / np.sqrt(len(latents)))
    product = latents[:, 0] * latents[:, 1]  # the four centres cancel
    assert abs(product.mean()) < 4 * product.std() / np.sqrt(len(latents))
    # |N(2, 1)| is within 1 of 2 with P(|n| < 1) + P(-5 < n < -3) = 0.6840.
    near = (np.abs(np.abs(latents) - 2) < 1).mean()
    assert abs(near - 0.6840) < 4 * np.sqrt(0.684 * 0.316 / latents.size)


def test_likelihood_is_normalised_and_is_what_draws():
    params = generator.parameters(3)
    z = np.array([[1.5, -2.0]])
    first = np.zeros((generator.VOCABULARY, 1), np.int64)
    first[:, 0] = np.arange(generator.VOCABULARY)
    log_probs = generator.log_likelihood(params, np.repeat(z, len(first), axis=0), first)
    np.testing.assert_allclose(np.exp(log_probs).sum(), 1.0, rtol=1e-9)
    # The mean log-likelihood of the first words drawn is minus the entropy, within error bars.
    latents, words = generator.draw(params, 3, "train", 500)
    values = generator.log_likelihood(params, latents, words[:, :1])
    entropies = []
    for point in latents[:60]:
        every = generator.log_likelihood(params, np.tile(point, (len(first), 1)), first)
        entropies.append(-(np.exp(every) * every).sum())
    gap = values[:60] + np.array(entropies)
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(gap))


def test_log_prior_integrates_to_one():
    axis = np.linspace(-9, 9, 181)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    mass = np.exp(generator.log_prior(grid)).sum() * (axis[1] - axis[0]) ** 2
    np.testing.assert_allclose(mass, 1.0, rtol=1e-6)


def test_parameters_are_uniform():
    params = generator.parameters(0)
    values = np.concatenate([p.ravel() for p in params])
    assert values.min() >= -1 and values.max() < 1
    assert abs(values.mean()) < 4 * np.sqrt(1 / 3 / values.size)
    assert abs(values.var() - 1 / 3) < 4 * np.sqrt(4 / 45 / values.size)


@pytest.mark.parametrize("options", [{"seed": -1}, {"num_valid": 0}, {"num_train": "x"}])
def test_bad_options(tmp_path, options):
    with pytest.raises(UserError, match=f"data.{next(iter(options))} is"):
        load(tmp_path, **options)
