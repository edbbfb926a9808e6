"""Remedies that the configuration chooses, in a compiled step of training."""

import jax
import numpy as np

from jvae.evaluation.evaluate import make_programs
from jvae.experiments.building import make_model
from jvae.experiments.job import make_job
from jvae.experiments.setup import encode_corpus, initial_state, load_data_corpus, make_tokenizer
from jvae.training.parallel import MODES
from tests.experiments.conftest import tiny_config


def test_the_loss_of_a_step_holds_the_bag_of_words_and_its_reconstruction_does_not(train):
    config = tiny_config(
        train,
        model__denoise="swap",
        model__init_scale=0.001,  # every word is as likely as any other
        objective__bow_weight=0.5,
        training__aggressive=False,
    )
    corpus = load_data_corpus(config)
    tokenizer = make_tokenizer(config, corpus)
    data = encode_corpus(config, corpus, tokenizer)
    parallel = MODES["jit"](jax.local_devices()[:1], 1)
    model = make_model(config, tokenizer.vocab_size)
    state = parallel.place_state(initial_state(config, model))
    job, _, _ = make_job(config, model, make_programs(model), data, parallel, state, {})
    arguments = next(job.feed.steps(job.plan(0), 0, 0, False))
    after = job.step(state, job.key, *arguments)
    assert int(after.step) == 1 and int(after.fault.term) == 0
    totals = after.totals
    uniform = float(totals.tokens) * np.log(tokenizer.vocab_size)
    np.testing.assert_allclose(totals.rec, uniform, rtol=1e-3)
    np.testing.assert_allclose(totals.loss, 1.5 * uniform, rtol=1e-3)
