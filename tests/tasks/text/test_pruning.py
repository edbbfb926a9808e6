"""Vectors kept and reconstruction by threshold; the rest of it runs in test_nvib_runs.py."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jvae.data import Corpus
from jvae.distributions.sets import VectorSet
from jvae.errors import UserError
from jvae.experiments import nvib
from jvae.posteriors.nvib import NVIB
from jvae.runs.directory import TrainedRun
from jvae.tasks.text import pruning
from jvae.tasks.text.data import Source
from jvae.tasks.text.task import TEXT
from jvae.tasks.text.use import Decoding

SENTENCES = ["a b c", "b a"]
ALPHA = np.array([[0.2, 0.4, 0.0, 0.1], [0.3, 0.1, 0.6, 0.0]])  # of words, </s> and padding


@pytest.fixture
def untrained(tmp_path):
    config = nvib.get_config()
    config.model.update({"latent_size": 2, "embed_size": 2, "hidden_size": 2})
    corpus = Corpus(
        "tiny", dict.fromkeys(("train", "valid", "test"), SENTENCES), None, None, (), ""
    )
    data = TEXT.load(config, source=Source(corpus))
    model = TEXT.build(config, data.resources, None)
    return TrainedRun(tmp_path, TEXT, config, data.resources, model, {"decoder": {}}, 1), data


def test_each_threshold_has_what_is_kept_and_what_comes_back(untrained):
    def encode(run, sentences, *, key):
        assert sentences == SENTENCES
        alpha = np.where(run.config.model.nvib.prune < ALPHA, ALPHA, 0)
        with np.errstate(divide="ignore"):
            log_weights = np.log(np.concatenate([np.ones((2, 1)), alpha], axis=1))
        return SimpleNamespace(centre=VectorSet(np.zeros((2, 5, 2)), log_weights))

    def decode(run, centre, how, *, key):
        assert how.max_length == 3  # of the longest sentence
        return [SENTENCES[0] if centre.present.sum() > 4 else "b", SENTENCES[1]]

    points = pruning.curve(
        *untrained, [0.0, 0.15, 0.5], Decoding(), key=None, encode=encode, decode=decode
    )
    assert [point["vectors"] for point in points] == [3, 2, 0.5]
    assert [point["share"] for point in points] == pytest.approx([6 / 7, 4 / 7, 1 / 7])
    assert [point["exact_match"] for point in points] == [1, 1, 0.5]
    assert points[0]["bleu"] == pytest.approx(100) and points[2]["bleu"] < 60
    assert pruning.lines(points)[3].split()[:3] == ["0.5", "0.50", "14.3%"]


@pytest.mark.parametrize("alpha", ["relu", "exp"])
def test_zero_keeps_all_but_zeros_and_the_run_stays_as_it_is(untrained, alpha):
    run, _ = untrained
    run.config.model.nvib.alpha = alpha
    found = {threshold: pruning.pruned_at(run, threshold) for threshold in (0.0, 0.3)}
    assert run.config.model.nvib.prune == 0
    assert found[0.3].config.model.nvib.prune == 0.3
    log_alpha = jnp.array([[0.0, -68, -jnp.inf]])
    q = NVIB(jnp.zeros((1, 3, 2)), jnp.zeros((1, 3, 2)), log_alpha, jnp.array([3.0]))
    assert q.pruned(found[0.0].config.model.nvib.prune).kept == 1
    assert all(other.model.decoder is run.model.decoder for other in found.values())


def test_other_sets_have_nothing_to_be_pruned_by(untrained):
    run, data = untrained
    run.config.model.posterior = "vt"
    with pytest.raises(UserError, match="model.posterior = 'vt'"):
        pruning.curve(run, data, [0.1], Decoding(), key=None)
