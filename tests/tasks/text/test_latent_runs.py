"""Runs with other posteriors and priors: trained, saved, evaluated, used."""

import dataclasses

import jax
import numpy as np
import pytest

import jvae
from jvae.evaluation.corpus import PosteriorTerms
from jvae.evaluation.evaluate import families, training_figures
from jvae.experiments.building import make_model
from jvae.experiments.config import default_config
from jvae.experiments.report import table_rows
from jvae.experiments.setup import example_batch, load_run
from jvae.experiments.use import Decoding, encode, sample_prior
from tests.experiments.conftest import run_tiny, tiny_config

KEY = jax.random.key(0)


@pytest.mark.slow
def test_a_batch_normalised_run_keeps_its_rate_and_its_moments(train, tmp_path):
    workdir = tmp_path / "run"
    config = tiny_config(train, model__posterior_map="batch_norm", model__bn_gamma=1.0)
    config.training.update({"epochs": 1, "aggressive": False})
    results, _ = run_tiny(config, workdir)
    run = load_run(workdir)
    running = run.params["encoder"]["running"]
    assert np.all(running["mean"] != 0) and np.all(running["var"] != 1)
    # Evaluation's moments are close to the training batches': the KL is about L gamma^2 / 2 = 1.
    assert results["kl"] > 0.5
    mean = np.asarray(encode(run, ["the cat sees", "a small dog"], key=KEY).mean)
    assert mean.shape == (2, 2) and not np.allclose(mean[0], mean[1])
    assert len(sample_prior(run, 2, Decoding(max_length=4), key=KEY)) == 2


def test_numbers_that_a_family_does_not_define_are_absent():
    def of(**fields):
        config = default_config()
        config.model.update({"latent_size": 3, "embed_size": 4, "hidden_size": 4} | fields)
        model = make_model(config, 10)
        params = jax.eval_shape(lambda key: jvae.init(model, example_batch(), key=key), KEY)
        return families(model, params, example_batch(), KEY)

    assert of().has_mi and of().analytic_kl
    full = of(posterior="full")
    assert full.analytic_kl and not full.has_mi
    vmf = of(posterior="vmf", prior="uniform_sphere")
    assert vmf.analytic_kl and not vmf.has_mi
    for name in ("planar", "iaf"):
        flow = of(posterior=name)
        assert not flow.analytic_kl and not flow.has_mi and not flow.point
    refined = of(refine_steps=2)
    assert refined.has_mi and refined.analytic_kl
    for prior in ("mixture", "vamp"):
        assert of(prior=prior, prior_components=2).has_mi
        assert not of(prior=prior, prior_components=2).analytic_kl
    terms = PosteriorTerms(*(np.ones((4, 2)) for _ in range(4)), {}, {}, rec=np.ones(4))
    assert "mi" not in training_figures(terms, 4, has_mi=False)
    assert "mi" in training_figures(terms, 4)
    assert training_figures(terms, 4)["kl_per_dim"] == [1.0, 1.0]
    estimated = training_figures(dataclasses.replace(terms, kl=np.ones((4, 1))), 4)
    assert estimated["kl"] == 1.0 and "kl_per_dim" not in estimated
    rows = {"sentences": 4, "latent_size": 2, "au": 1, "shuffled_rec": 1.0, "kl": 2.0}
    notes = [
        dict((r[0], r[2]) for r in table_rows(rows | {"kl_analytic": a})) for a in (True, False)
    ]
    assert "Monte Carlo" not in notes[0]["KL"] and "Monte Carlo" in notes[1]["KL"]
    assert "MI (corpus)" not in notes[0]
