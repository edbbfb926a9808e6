"""Finished runs side by side, example by example."""

import numpy as np
import pytest

from jvae.compare.outcomes import paired, with_differences
from tests.compare.setting import outcome
from tests.tiny import TEXT

RNG = np.random.default_rng(0)
HARD = RNG.normal(30, 10, 200)  # what a sentence costs any model


def run(method, seed, shift):
    each = (HARD + shift + RNG.normal(0, 0.5, 200)).tolist()
    return outcome(method, seed, iw_nll=float(np.mean(each)), iw_nll_each=each)


def test_a_paired_difference_is_that_of_each_sentence_over_the_seeds_means():
    first, second = [run("vae", s, 0.3) for s in (0, 1)], [run("lm", s, 0.0) for s in (0, 1, 2)]
    a, b = (np.array([o["results"]["iw_nll_each"] for o in runs]) for runs in (first, second))
    found = paired(first, second)
    each = a.mean(0) - b.mean(0)
    assert found.value == pytest.approx(np.mean([o["results"]["iw_nll"] for o in first]) - b.mean())
    assert found.se == pytest.approx(np.std(each, ddof=1) / np.sqrt(200))
    assert abs(found.value - 0.3) < 4 * found.se
    assert found.se < 0.05 < 0.1 * np.std(a[0]) / np.sqrt(200) * 10  # an NLL's own error is 0.7


def test_runs_of_other_sentences_are_not_compared():
    vae, lm = run("vae", 0, 0.0), run("lm", 0, 0.0)
    assert paired([vae], []) is None and paired([], [lm]) is None
    assert paired([vae], [outcome("lm")]) is None  # older than the figures
    lm["results"]["iw_nll_each"].pop()
    assert paired([vae], [lm]) is None


def test_each_run_is_set_beside_the_language_model_of_its_decoder_and_seed():
    failed = {"method": "bn", "seed": 0, "folder": "runs/bn", "error": "it failed"}
    runs = [run("lm", 0, 0.0), run("lm", 1, 5.0), run("lm_cnn", 0, 9.0), failed]
    runs += [run("vae", 0, 0.5), run("vae", 1, 5.5), run("cnn", 0, 8.0), run("vae", 2, 0.0)]
    found = [
        o.get("results", {}).get("over_floor") for o in with_differences(runs, TEXT.methods.bounds)
    ]
    assert found[:4] == [None] * 4 and found[7] is None  # no language model of seed 2
    for difference, shift in zip(found[4:7], (0.5, 0.5, -1.0), strict=True):
        assert abs(difference["value"] - shift) < 4 * difference["se"] < 0.3
    assert "over_floor" not in runs[4]["results"]
