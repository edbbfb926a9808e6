"""Runs with other posteriors and priors: trained, saved, evaluated, used."""

import jax
import numpy as np
import pytest

import jvae
from jvae.evaluation.evaluate import table_rows
from jvae.evaluation.evidence import offers
from jvae.evaluation.metrics import MUTUAL_INFORMATION, VAE_METRICS
from jvae.runs.directory import load_run
from jvae.tasks.text.config import default_config
from jvae.tasks.text.model import example_batch, make_model
from jvae.tasks.text.use import Decoding, encode, sample_prior
from tests.tiny import TEXT, run_tiny, tiny_config

KEY = jax.random.key(0)


@pytest.mark.slow
def test_a_batch_normalised_run_keeps_its_rate_and_its_moments(train, tmp_path):
    workdir = tmp_path / "run"
    config = tiny_config(train, model__posterior_map="batch_norm", model__batch_norm__gamma=1.0)
    config.training.update({"epochs": 1, "aggressive": False})
    results, _ = run_tiny(config, workdir)
    run = load_run(workdir, TEXT)
    running = run.params["encoder"]["batch_norm"]["running"]
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
        return offers(model, params, example_batch(), KEY)

    def has_mi(offered):
        return offered.meets(MUTUAL_INFORMATION.needs)

    assert has_mi(of()) and of().closed_form_kl
    full = of(posterior="full")
    assert full.closed_form_kl and not has_mi(full)
    vmf = of(posterior="vmf", prior="uniform_sphere")
    assert vmf.closed_form_kl and not has_mi(vmf)
    for name in ("planar", "iaf"):
        flow = of(posterior=name)
        assert not flow.closed_form_kl and not has_mi(flow) and flow.density
    refined = of(refine="semi_amortised", semi_amortised={"steps": 2})
    assert has_mi(refined) and refined.closed_form_kl
    for prior in ("mixture", "vamp"):
        offered = of(prior=prior, **{prior: {"components": 2}})
        assert has_mi(offered) and not offered.closed_form_kl
    rows = {"examples": 4, "latent_size": 2, "au": 1, "shuffled_rec": 1.0, "kl": 2.0}
    shown = [table_rows(VAE_METRICS, rows | {"kl_analytic": a}, TEXT.nouns) for a in (True, False)]
    notes = [{name: note for name, _, note in each} for each in shown]
    assert "Monte Carlo" not in notes[0]["KL"] and "Monte Carlo" in notes[1]["KL"]
    assert "MI (corpus)" not in notes[0]
