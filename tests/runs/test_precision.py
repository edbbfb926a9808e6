"""Training with rounded factors; evaluation without, on any device."""

import json
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.commands.cli import main
from jvae.evaluation.functions import make_functions
from jvae.evaluation.posterior_grid import model_posterior_mean
from jvae.experiments import chitchat, nvib
from jvae.model import VAE
from jvae.tasks.text import impute, likelihood, use
from jvae.tasks.text.model import make_model
from tests.conftest import VOCAB, make_batch
from tests.tiny import run_tiny, tiny_config, train_tiny
from tests.training.setting import make_problem

KEY, BATCH = jax.random.key(3), make_batch(3, 4)
SIZES = {"embed_size": 4, "hidden_size": 4, "transformer": {"layers": 1, "heads": 1}}


def small_model(name: str) -> VAE:
    """With one latent dimension and a prior that encodes; or sets, in a Transformer."""
    config = {"vector": chitchat, "set": nvib}[name].get_config()
    own = {"latent_size": 1, "prior": "vamp"} if name == "vector" else {"latent_size": 4}
    config.model.update(SIZES | own)
    return make_model(config, VOCAB)


def lowered(model: VAE) -> Iterator[jax.stages.Lowered]:
    """Every function whose numbers or sentences are shown."""
    params = jax.eval_shape(lambda key: jvae.init(model, BATCH, key=key), KEY)
    functions = make_functions(model)
    z = jax.eval_shape(functions.encode, params, BATCH, key=KEY).z
    yield functions.encode.lower(params, BATCH, key=KEY)
    yield functions.decode.lower(params, z, BATCH, key=KEY)
    yield functions.importance(4, 2).lower(params, BATCH, np.int32(0), key=KEY)
    yield use._encoder(model).lower(params, BATCH, key=KEY)
    for strategy in ("greedy", "sample", "beam"):
        how = use.Decoding(strategy, max_length=4)
        yield use._decoder(model.decoder, how).lower(params["decoder"], z, KEY)
    yield impute._proposer(model, 2).lower(params, BATCH, np.ones(4, bool), KEY)
    yield likelihood.estimator(model, 4, 2).lower(params, BATCH, key=KEY)
    if isinstance(z, jax.ShapeDtypeStruct):  # a vector
        yield functions.draw.lower(params, np.arange(3), key=KEY)
        mean = partial(model_posterior_mean, model, grid=jnp.arange(3.0))
        yield jax.jit(mean).lower(params, BATCH, key=KEY)


def products(program: jax.stages.Lowered) -> list[bool]:
    """For each product of a function: whether it is in full float32."""
    lines = [line for line in program.as_text().splitlines() if "stablehlo.dot_general" in line]
    return ["precision = [HIGHEST, HIGHEST]" in line for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vector", "set"])
def test_what_is_shown_is_computed_in_full_float32(name):
    for program in lowered(small_model(name)):
        found = products(program)
        assert found and all(found), program.as_text()[:200]


def test_training_keeps_the_precision_that_is_jax_s_default():
    problem = make_problem(inner=None, aggressive=False)
    found = products(problem.step.lower(*problem.arguments))
    assert len(found) > 10 and not any(found)


@pytest.mark.slow
def test_rounding_changes_training_a_little_and_evaluation_not_at_all(train, tmp_path, one_device):
    def config(precision: str):
        options = {"training__epochs": 1, "training__aggressive": False}
        return tiny_config(train, training__precision=precision, **options)

    train_tiny(config("float32"), tmp_path / "float32")  # only its loss is asked for
    workdir = tmp_path / "bfloat16"
    before, _ = run_tiny(config("bfloat16"), workdir)
    losses = [
        json.loads((tmp_path / precision / "metrics.jsonl").read_text())["train_rec"]
        for precision in ("float32", "bfloat16")
    ]
    assert losses[1] != losses[0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.02)

    # A trained run reports the same numbers whatever precision it is said to be trained in.
    path = workdir / "config.json"
    path.write_text(path.read_text().replace("bfloat16", "float32"))
    main(["evaluate", str(workdir)])
    after = json.loads((workdir / "results.json").read_text())
    assert [after[name] for name in ("elbo", "iw_nll")] == [before["elbo"], before["iw_nll"]]


@pytest.mark.slow
def test_a_session_of_double_precision_trains_the_same_run(finished, tmp_path):
    with jax.enable_x64(True):
        results, _ = run_tiny(finished.config, tmp_path / "run")
        assert jax.config.jax_enable_x64, "the session's own arrays are left alone"
    for name in ("iw_nll", "elbo", "kl"):
        np.testing.assert_allclose(results[name], finished.results[name], rtol=1e-6)
