"""The memory of a job: predicted before it starts, measured at its end, kept to a budget."""

import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from jvae.errors import UserError
from jvae.evaluation.corpus import prior_samples
from jvae.evaluation.evaluate import evaluate
from jvae.evaluation.evidence import Evidence
from jvae.evaluation.functions import make_functions
from jvae.evaluation.settings import EvaluationSettings
from jvae.random import Stream, stream
from jvae.runs import memory
from jvae.runs.directory import load_run
from jvae.runs.job import split_batches
from jvae.runs.memory import fit_evaluation
from jvae.training.parallel import MODES
from tests.tiny import TEXT

# The gradient of a softmax with 320 MB of logits, in a process that holds some 200 MB.
LARGE = """
import json, jax, jax.numpy as jnp
from jvae.runs.memory import forecast, in_use
from jvae.training.memory import compiled_memory
from jvae.training.parallel import MODES

def loss(hidden, kernel):
    return jax.nn.logsumexp(hidden @ kernel, axis=-1).sum()

arguments = jnp.ones((10000, 64)), jnp.ones((64, 8000))
compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*arguments).compile()
lines = []
before = in_use()
one = MODES["jit"](jax.devices()[:1], 1, {})
predicted = forecast({"gradient": compiled_memory(compiled)}, one, lines.append)
jax.block_until_ready(compiled(*arguments))
print(json.dumps([before.now, predicted, in_use().peak, lines]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_prediction_is_within_a_quarter_of_the_measurement():
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    held, predicted, peak, lines = json.loads(done.stdout)
    assert peak > 1.5 * held, "the program must outweigh the process"
    assert abs(predicted - peak) < 0.25 * peak
    assert abs((predicted - held) - (peak - held)) < 0.25 * (peak - held)
    assert "predicted" in lines[-1] and len(lines) == 2


def test_a_run_says_both(finished):
    needs = re.findall(r"memory  (.*): [\d,]+ MB", finished.output)
    assert needs == [
        "a training step",
        "encoding",
        "decoding",
        "importance weights, 5 samples at once",
    ]
    before = re.search(r"memory  predicted ([\d,]+) MB, of which", finished.output)[1]
    assert re.search(rf"memory  predicted {before} MB, measured [\d,]+ MB", finished.output)


@pytest.fixture(scope="module")
def setting(finished):
    run = load_run(finished.workdir, TEXT)
    data = TEXT.load(run.config, resources=run.resources)
    parallel = MODES["jit"](jax.devices()[:1], 1, TEXT.split_axes)
    return (
        run,
        make_functions(run.model, parallel.compile_evaluation, parallel.shard),
        data,
        parallel,
    )


def evaluated(run, functions, split, settings: EvaluationSettings) -> dict:
    """The results of a split, with key 0."""
    key = jax.random.key(0)
    return evaluate(TEXT.metrics, Evidence(functions, run.params, split, key, settings, TEXT.nouns))


def fitted(setting, **fields):
    run, functions, data, parallel = setting
    config = run.config.copy_and_resolve_references()
    config.unlock()
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return fit_evaluation(TEXT, config, functions, run.params, data, parallel)


@pytest.mark.slow
def test_a_budget_takes_fewer_samples_at_once_with_the_same_numbers(setting):
    run, functions, data, parallel = setting
    free = fitted(setting, evaluation__iw_samples=200)
    assert free.iw_chunk == 200
    whole = free.needs["importance weights, 200 samples at once"].total
    tight = fitted(setting, evaluation__iw_samples=200, training__memory_gb=0.5 * whole / 2**30)
    (needed,) = [m for name, m in tight.needs.items() if name.startswith("importance")]
    assert 1 < tight.iw_chunk < 200 and needed.total <= 0.5 * whole
    results = []
    for chunk in (free.iw_chunk, tight.iw_chunk):
        settings = EvaluationSettings(iw_samples=200, iw_chunk=chunk)
        split = split_batches(run.config, data, "test", parallel)
        results.append(evaluated(run, functions, split, settings))
    np.testing.assert_allclose(results[1]["iw_nll"], results[0]["iw_nll"], rtol=1e-6)
    # Draws from the prior are made batch by batch: the same as all at once.
    key = stream(jax.random.key(0), Stream.EVALUATION)
    numbers = np.arange(results[0]["examples"])
    whole = np.asarray(prior_samples(run.model, run.params, numbers, key=key))
    rec = functions.reconstruction(
        run.params, lambda batch: whole[batch.index], split, len(whole), key
    )
    np.testing.assert_allclose(results[0]["prior_rec"], rec.mean(), rtol=1e-6)


@pytest.mark.slow
def test_a_budget_takes_fewer_examples_at_once_with_the_same_numbers(setting):
    run, functions, data, parallel = setting
    one = {"evaluation__iw_samples": 1, "evaluation__iw_batch_size": 1}
    free = fitted(setting, **one)
    assert free.config.evaluation.batch_size == run.config.evaluation.batch_size == 64
    budget = 0.6 * free.needs["decoding"].total
    tight = fitted(setting, **one, training__memory_gb=budget / 2**30)
    assert 1 < tight.config.evaluation.batch_size < 64
    assert all(memory.total <= budget for memory in tight.needs.values())
    results = [
        evaluated(
            run,
            functions,
            split_batches(config, data, "train", parallel),
            EvaluationSettings(iw_samples=1, iw_examples=1),
        )
        for config in (free.config, tight.config)
    ]
    for name in ("elbo", "prior_rec", "shuffled_rec"):
        np.testing.assert_allclose(results[1][name], results[0][name], rtol=1e-6)
    assert results[1]["mi_batch"]["value"] == pytest.approx(results[0]["mi_batch"]["value"], 1e-4)


def test_a_budget_that_nothing_keeps_to_is_refused(setting, monkeypatch):
    with pytest.raises(UserError, match="decoding even 1 example at once needs .* lower") as e:
        fitted(setting, training__memory_gb=1e-6)
    assert "\n" not in str(e.value)
    monkeypatch.setattr(memory, "fit_batches", lambda config, *arguments: (config, {}))
    with pytest.raises(UserError, match="even 1 importance sample at once needs .* lower") as e:
        fitted(setting, training__memory_gb=1e-6)
    assert "\n" not in str(e.value)


def test_a_chunk_of_samples_is_as_large_as_a_device_s_own_rows_allow(setting, monkeypatch):
    run, _, data, _ = setting
    monkeypatch.setattr(memory, "fit", lambda build, choices, *_, **named: (None, choices[0], None))

    def chunk(devices: int, model_shards: int) -> int:
        parallel = MODES["jit"](jax.devices()[:devices], model_shards, TEXT.split_axes)
        functions = make_functions(run.model, parallel.compile_evaluation, parallel.shard)
        many = {"evaluation__iw_samples": 10**6, "evaluation__memory_mb": 1}
        return fitted((run, functions, data, parallel), **many).iw_chunk

    alone = chunk(1, 1)  # of 8 sentences
    assert chunk(4, 2) == pytest.approx(2 * alone, abs=2)
    assert chunk(4, 1) == pytest.approx(4 * alone, abs=4)


def test_fewer_samples_are_those_of_a_run_with_so_many(setting):
    run, functions, data, parallel = setting
    split = split_batches(run.config, data, "test", parallel)

    def numbers(samples: int, tolerance: float):
        settings = EvaluationSettings(
            iw_samples=samples, iw_chunk=30, iw_tolerance=tolerance, iw_examples=20
        )
        return evaluated(run, functions, split, settings)

    adaptive, plain = numbers(300, 100.0), numbers(100, 0.0)
    assert adaptive["iw_samples"] == 100 and adaptive["iw_remaining"]["samples"] == 300
    np.testing.assert_allclose(adaptive["iw_nll"], plain["iw_nll"], rtol=1e-6)
    assert adaptive["k_curve"]["k"] == plain["k_curve"]["k"]
    assert "iw_remaining" not in plain
    truth = numbers(300, 0.0)
    # No tolerance is that tight: block after block, each with the next samples.
    in_blocks = numbers(300, 1e-12)
    assert in_blocks["iw_samples"] == 300 and "iw_remaining" not in in_blocks
    np.testing.assert_allclose(in_blocks["iw_nll"], truth["iw_nll"], rtol=1e-6)
    change = adaptive["iw_remaining"]
    missed = adaptive["iw_nll"] - truth["iw_nll"] - change["nll"]
    assert abs(missed) < 4 * change["error"] + 1e-6
