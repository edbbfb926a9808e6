"""Imputation against every filling, its probability integrated over z."""

import dataclasses
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

import jvae
from jvae.batch import BOS, EOS
from jvae.data import build_tokenizer
from jvae.errors import UserError
from jvae.runs.directory import TrainedRun
from jvae.tasks.text.config import default_config
from jvae.tasks.text.impute import Search, impute
from jvae.tasks.text.model import example_batch
from jvae.tasks.text.task import TEXT
from tests.conftest import make_model

WORDS = ["a", "b", "c", "d", "e"]
SENTENCE = "a _ c _"
KEY = jax.random.key(5)
BOUNDED = Search(draws=4, beam_size=2, rounds=5, num_samples=1000)


@pytest.fixture(scope="module")
def run() -> TrainedRun:
    tokenizer = build_tokenizer("words", [" ".join(WORDS)])
    model = make_model(tokenizer.vocab_size, 1, dropout_in=0.0, dropout_out=0.0)
    params = jax.jit(lambda key: jvae.init(model, example_batch(), key=key))(jax.random.key(1))
    # Large enough weights that words depend on one another and on z.
    params["decoder"] = jax.tree.map(lambda leaf: 3 * leaf, params["decoder"])
    return TrainedRun(Path("runs/x"), TEXT, default_config(), tokenizer, model, params, 1)


@pytest.fixture(scope="module")
def exact(run):
    """Filling -> `log p(x)`, by quadrature over z."""
    texts = [f"a {u} c {v}" for u, v in itertools.product(WORDS, WORDS)]
    rows = np.array([[BOS, *run.resources.encode(text), EOS] for text in texts], np.int32)
    count, batch = len(rows), jvae.text_batch(rows)
    grid = np.linspace(-6, 6, 241)

    def given(z):
        latents = jnp.full((count, 1), z)
        key = jax.random.key(0)
        return run.model.decoder.log_prob(
            run.params["decoder"], latents, batch, None, key=key, train=False
        )

    values = np.asarray(jax.jit(jax.vmap(given))(jnp.asarray(grid, jnp.float32)), np.float64)
    weights = -0.5 * grid**2 - 0.5 * np.log(2 * np.pi) + np.log(grid[1] - grid[0])
    return dict(zip(texts, logsumexp(values + weights[:, None], axis=0), strict=True))


def test_the_probabilities_are_those_of_the_model(run, exact):
    (found,) = impute(run, [SENTENCE], Search(1, 25, 2, 1000), key=KEY)
    assert set(found.sentences) == set(exact)
    expected = np.array([exact[text] for text in found.sentences])
    np.testing.assert_allclose(found.log_prob, expected, atol=0.05)
    assert found.sentences[0] == max(exact, key=exact.__getitem__)
    shares = np.exp(expected - logsumexp(list(exact.values())))
    np.testing.assert_allclose(found.share, shares, atol=0.01)
    assert np.all(np.diff(found.log_prob) <= 0)
    # The oracle tells fillings apart: their order is no accident.
    assert np.ptp(expected) > 2


def test_a_bounded_search_finds_the_best_filling(run, exact):
    (found,) = impute(run, [SENTENCE], BOUNDED, key=KEY)
    assert found.sentences[0] == max(exact, key=exact.__getitem__)
    assert len(found.sentences) < 25
    (once,) = impute(run, [SENTENCE], BOUNDED._replace(rounds=1), key=KEY)
    assert set(once.sentences) <= set(found.sentences)
    assert once.log_prob[0] <= found.log_prob[0]


def test_a_sentence_does_not_depend_on_its_company(run):
    other = "b _ zebra _"
    (alone,) = impute(run, [other], BOUNDED, key=KEY)
    first, second = impute(run, [SENTENCE, other], BOUNDED, key=KEY)
    assert second.sentences == alone.sentences
    np.testing.assert_allclose(second.log_prob, alone.log_prob, rtol=1e-5)
    for text in alone.sentences:  # a word that the vocabulary lacks is given back
        assert text.split()[::2] == ["b", "zebra"]
    for text in (*first.sentences, *alone.sentences):
        assert set(text.split()[1::2]) <= set(WORDS)


def test_a_language_model_searches_by_its_exact_probability(run):
    model = make_model(run.resources.vocab_size, 0, dropout_in=0.0, dropout_out=0.0)
    model = model._replace(encoder=jvae.no_encoder())
    params = jax.jit(lambda key: jvae.init(model, example_batch(), key=key))(KEY)
    language_model = dataclasses.replace(run, model=model, params=params)
    (found,) = impute(language_model, [SENTENCE], Search(3, 25, 2, 100), key=KEY)
    rows = [[BOS, *run.resources.encode(text), EOS] for text in found.sentences]
    count = len(rows)
    assert count == 25
    batch = jvae.text_batch(rows)
    z = jnp.zeros((count, 0))
    exact = model.decoder.log_prob(params["decoder"], z, batch, None, key=KEY, train=False)
    np.testing.assert_allclose(found.log_prob, exact, atol=1e-5)


def test_characters(run):
    tokenizer = build_tokenizer("chars", ["".join(WORDS)])
    by_character = dataclasses.replace(run, resources=tokenizer)
    (words,) = impute(run, [SENTENCE], BOUNDED, key=KEY)
    (found,) = impute(by_character, ["a_c_"], BOUNDED, key=KEY)
    # The same numbers, hence the same fillings.
    assert found.sentences == [text.replace(" ", "") for text in words.sentences]


def test_refusals(run):
    with pytest.raises(UserError, match="sentence 2 has no blank: put _ "):
        impute(run, ["a _", "a_b"], BOUNDED, key=KEY)
    bpe = dataclasses.replace(run, resources=build_tokenizer("bpe", ["a b"]))
    with pytest.raises(UserError, match="tokenizer is bpe"):
        impute(bpe, ["a _"], BOUNDED, key=KEY)
    config = default_config()
    config.model.mode = "ae"
    with pytest.raises(UserError, match="autoencoder: it gives sentences no probability"):
        impute(dataclasses.replace(run, config=config), ["a _"], BOUNDED, key=KEY)


def test_a_sentence_of_more_vectors_than_the_prior_counts_is_refused(run):
    config = default_config()
    config.model.update({"posterior": "vt", "transformer": {"max_positions": 4}})
    of_sets = dataclasses.replace(run, config=config)
    with pytest.raises(UserError, match="sentence 2 has 4 tokens: .* of at most 3"):
        impute(of_sets, ["a _ c", "a _ c _"], BOUNDED, key=KEY)
