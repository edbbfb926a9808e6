"""Whole runs with the vocabulary spread over devices, and runs that change between the two."""

import shutil

import jax
import numpy as np
import pytest

from jvae.runs.directory import load_run
from tests.tiny import TEXT, refused, run_tiny, tiny_config, train_tiny

SPREAD = {"training__num_devices": 4, "training__model_shards": 2}


def assert_same_results(results, expected) -> None:
    for name in ("elbo", "rec", "kl", "iw_nll", "shuffled_rec", "prior_rec"):
        np.testing.assert_allclose(results[name], expected[name], rtol=1e-3, err_msg=name)
    assert results["best_epoch"] == expected["best_epoch"]


@pytest.mark.slow
def test_a_run_goes_on_from_parts_to_the_whole(finished, tmp_path):
    config = tiny_config(finished.train, training__epochs=1, **SPREAD)
    said: list[str] = []
    train_tiny(config, tmp_path, said.append)
    assert any(", 2 parts, 4 cpu device(s)" in line for line in said)
    results, shown = run_tiny(finished.config, tmp_path)
    assert "resumed at step" in shown
    assert_same_results(results, finished.results)
    ours, theirs = (load_run(run, TEXT).params for run in (tmp_path, finished.workdir))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_run_goes_on_from_the_whole_to_parts(finished, tmp_path):
    """It was at its end: evaluation and examples, with the same parameters."""
    shutil.copytree(finished.workdir, tmp_path / "run")
    config = tiny_config(finished.train, training__epochs=3, **SPREAD)
    results, shown = run_tiny(config, tmp_path / "run")
    assert "resumed at step" in shown
    assert_same_results(results, finished.results)
    assert results["shown"] == finished.results["shown"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"training__model_shards": 3}, "= 3 does not divide the 4 devices: choose a divisor"),
        (
            {"training__model_shards": 4},
            "= 4 does not divide the vocabulary of 14 tokens: choose a divisor, or begin a run "
            "with data.max_size = 12",
        ),
        ({"training__model_shards": 2, "training__parallel": "pmap"}, "needs training.parallel"),
    ],
)
def test_parts_that_cannot_be(train, tmp_path, fields, says):
    message = refused(tiny_config(train, training__num_devices=4, **fields), tmp_path / "run")
    assert message.startswith("training.model_shards") and says in message
