"""Remedies that the configuration chooses, in a compiled step of training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jvae.evaluation.programs import make_programs
from jvae.experiments.building import make_model, make_schedules
from jvae.experiments.checks import check
from jvae.experiments.config import default_config
from jvae.experiments.job import make_job
from jvae.experiments.methods import METHODS, configure
from jvae.experiments.objective import make_loss, make_terms, make_trained_model
from jvae.experiments.setup import encode_corpus, initial_state, load_data_corpus, make_tokenizer

import jvae
from jvae.training.loop import at_row
from jvae.training.parallel import MODES
from tests.conftest import VOCAB, make_batch
from tests.tiny import tiny_config


def job_of(config, parallel):
    corpus = load_data_corpus(config)
    tokenizer = make_tokenizer(config, corpus)
    data = encode_corpus(config, corpus, tokenizer)
    model = make_model(config, tokenizer.vocab_size)
    state = parallel.place_state(initial_state(config, model))
    job, _, _ = make_job(config, model, make_programs(model), data, parallel, state, {})
    return job, state, tokenizer


class Lowered(Exception):
    """A program, before it is compiled."""


def program_of(config) -> str:
    class Step:
        def __init__(self, step):
            self.lower = lambda *arguments: self.stop(jax.jit(step).lower(*arguments))

        def stop(self, lowered):
            raise Lowered(lowered.as_text())

    with pytest.raises(Lowered) as stopped:
        job_of(config, MODES["jit"](jax.local_devices()[:1], 1)._replace(compile=Step))
    return str(stopped.value)


def test_methods_that_differ_in_schedules_share_one_program(train):
    base = tiny_config(train, training__aggressive=False)
    programs = {
        name: program_of(configure(base, name, seed))
        for name, seed in (("vae", 0), ("cyclical", 1), ("beta", 0), ("free_bits", 0))
    }
    assert programs["vae"] == programs["cyclical"] == programs["beta"] != programs["free_bits"]


def test_the_loss_of_a_step_holds_the_bag_of_words_and_its_reconstruction_does_not(train):
    config = tiny_config(
        train,
        model__denoise="swap",
        model__init_scale=0.001,  # every word is as likely as any other
        objective__bow_weight=0.5,
        training__aggressive=False,
    )
    job, state, tokenizer = job_of(config, MODES["jit"](jax.local_devices()[:1], 1))
    arguments = next(job.feed.steps(job.plan(0), 0, 0, False))
    after = job.step(state, job.key, *arguments, at_row(job.schedules(np.arange(1)), 0))
    assert int(after.step) == 1 and int(after.fault.term) == 0
    totals = after.totals
    uniform = float(totals.tokens) * np.log(tokenizer.vocab_size)
    np.testing.assert_allclose(totals.rec, uniform, rtol=1e-3)
    np.testing.assert_allclose(totals.loss, 1.5 * uniform, rtol=1e-3)


def test_every_method_has_terms_and_loss_with_transformers():
    """By shapes alone."""
    base = default_config()
    base.model.update({"encoder": "transformer", "decoder": "transformer", "layers": 1})
    base.model.update({"latent_size": 3, "embed_size": 4, "hidden_size": 4})
    batch = make_batch(4, 5)
    for name in METHODS:
        config = configure(base, name, 0)
        check(config)
        model = make_trained_model(config, make_model(config, VOCAB))
        scheduled = {field: of(0) for field, of in make_schedules(config, 10).items()}

        def run(key, model=model, config=config, scheduled=scheduled):
            params = jvae.init(model, batch, key=key)
            options = {"num_samples": config.objective.num_samples, "train": True}
            terms = make_terms(config)(model, params, batch, key=key, **options)
            return make_loss(config)(terms, scheduled, batch.weight), terms.kl

        losses, kl = jax.eval_shape(run, jax.random.key(0))
        assert (losses.shape, losses.dtype) == ((4,), jnp.float32), name
        assert kl and all(term.shape[0] == 4 for term in kl.values()), name
