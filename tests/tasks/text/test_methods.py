"""Methods of text VAEs, and what the configuration chooses in a compiled step of training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.compare.methods import configure
from jvae.components import check
from jvae.evaluation.functions import make_functions
from jvae.runs.directory import initial_state
from jvae.runs.job import make_job
from jvae.tasks.text.config import TEXT_GROUPS, default_config
from jvae.tasks.text.data import load
from jvae.tasks.text.methods import METHODS, TEXT_METHODS
from jvae.tasks.text.model import make_model
from jvae.tasks.text.objective import make_objective, make_schedules
from jvae.tasks.text.task import TEXT
from jvae.training.loop import at_row
from jvae.training.parallel import MODES
from tests.conftest import VOCAB, make_batch
from tests.tiny import tiny_config


def job_of(config, parallel):
    data = load(config)
    model = TEXT.build(config, data.resources, None)
    state = parallel.place_state(initial_state(TEXT, config, model, data.resources, data))
    job, _, _ = make_job(TEXT, config, make_functions(model), data, parallel, state, {})
    return job, state, data.resources


class Lowered(Exception):
    """A function, before it is compiled."""


def function_of(config) -> str:
    class Step:
        def __init__(self, step):
            self.lower = lambda *arguments: self.stop(jax.jit(step).lower(*arguments))

        def stop(self, lowered):
            raise Lowered(lowered.as_text())

    with pytest.raises(Lowered) as stopped:
        job_of(config, MODES["jit"](jax.local_devices()[:1], 1)._replace(compile=Step))
    return str(stopped.value)


@pytest.mark.slow
def test_methods_that_differ_in_schedules_share_one_compiled_function(train):
    base = tiny_config(train, training__aggressive=False)
    functions = {
        name: function_of(configure(TEXT_METHODS, base, name, seed))
        for name, seed in (("vae", 0), ("cyclical", 1), ("beta", 0), ("free_bits", 0))
    }
    assert functions["vae"] == functions["cyclical"] == functions["beta"]
    assert functions["vae"] != functions["free_bits"]


def test_the_loss_of_a_step_holds_the_bag_of_words_and_its_reconstruction_does_not(train):
    config = tiny_config(
        train,
        model__denoise="swap",
        model__init_scale=0.001,  # every word is as likely as any other
        objective__bow_weight=0.5,
        training__aggressive=False,
    )
    job, state, tokenizer = job_of(config, MODES["jit"](jax.local_devices()[:1], 1))
    arguments = next(job.pipeline.inputs(job.plan(0), 0, 0, False))
    after = job.step(state, job.key, *arguments, at_row(job.schedules(np.arange(1)), 0))
    assert int(after.step) == 1 and int(after.fault.term) == 0
    totals = after.totals
    uniform = float(totals.symbols) * np.log(tokenizer.vocab_size)
    np.testing.assert_allclose(totals.metrics["rec"], uniform, rtol=1e-3)
    np.testing.assert_allclose(totals.loss, 1.5 * uniform, rtol=1e-3)


@pytest.mark.slow
def test_every_method_has_losses_with_transformers():
    """By shapes alone."""
    base = default_config()
    base.model.update({"encoder": "transformer", "decoder": "transformer"})
    base.model.update({"latent_size": 3, "embed_size": 4, "hidden_size": 4})
    base.model.transformer.layers = 1
    batch = make_batch(4, 5)
    for name in METHODS:
        config = configure(TEXT_METHODS, base, name, 0)
        check(TEXT_GROUPS, config)
        model = make_model(config, VOCAB)
        made = make_objective(config, model, VOCAB)
        scheduled = {field: of(0) for field, of in make_schedules(config, 10).items()}

        def run(key, model=model, made=made, scheduled=scheduled):
            params = jvae.init(model, batch, key=key)
            groups = made.init(key, params)
            params = params | groups.params
            return made.apply(params, groups.carried, batch, key=key, scheduled=scheduled)

        outcome = jax.eval_shape(run, jax.random.key(0))
        assert (outcome.losses.shape, outcome.losses.dtype) == ((4,), jnp.float32), name
        kl = outcome.terms.kl
        assert kl and all(term.shape[0] == 4 for term in kl.values()), name


def test_a_method_starts_from_a_plain_vae_whatever_the_base():
    base = default_config()
    base.model.update({"latent_size": 5, "posterior": "iaf", "decoder": "cnn", "skip": True})
    base.model.transformer.update({"layers": 7, "attention": "denoising"})
    base.objective.free_bits.target = 3.0
    base.training.pretrain_epochs = 3
    config = configure(TEXT_METHODS, base, "vae", 1)
    check(TEXT_GROUPS, config)
    plain = default_config()
    assert (config.model.latent_size, config.model.transformer.layers) == (5, 7)
    for group, name in (("model", "posterior"), ("model", "decoder"), ("model", "skip")):
        assert config[group][name] == plain[group][name], name
    assert config.model.transformer.attention == "dot_product"
    assert config.objective.free_bits.target == 8.0
    assert config.objective.kl_schedule == "constant"
    assert (config.training.pretrain_epochs, config.training.seed) == (0, 1)


def test_bounds_have_the_decoder_of_the_method():
    assert TEXT_METHODS.bounds("bow") == ("lm", "ae")
    assert TEXT_METHODS.bounds("bow+cnn") == ("lm_cnn", "ae_cnn")
    for name in TEXT_METHODS.default:
        assert name in METHODS
