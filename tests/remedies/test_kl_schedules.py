"""Schedules of the KL weight against their formulas, eager and compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jvae.remedies import KL_SCHEDULES, KLWeight
from jvae.remedies.kl_schedules import (
    RAMPS,
    constant,
    cyclical,
    linear,
    logistic,
)

STEPS = np.arange(0, 60)


def values(schedule, steps=STEPS) -> np.ndarray:
    """At all steps, compiled; and the same, step by step, as the training loop calls it."""
    compiled = jax.jit(jax.vmap(lambda step: jnp.asarray(schedule(step), jnp.float32)))
    result = np.asarray(compiled(jnp.asarray(steps, jnp.int32)))
    for position in (0, len(steps) // 2, -1):
        np.testing.assert_allclose(schedule(int(steps[position])), result[position], rtol=1e-5)
    return result


def test_constant():
    np.testing.assert_array_equal(values(constant()), np.ones(60))
    np.testing.assert_allclose(values(constant(0.4)), np.full(60, 0.4), rtol=1e-6)


@pytest.mark.parametrize(("start", "steps", "end"), [(0.1, 10, 1.0), (0.0, 25, 0.5), (1.0, 4, 0.2)])
def test_linear_reaches_its_end_and_stays(start, steps, end):
    expected = start + (end - start) * np.minimum(STEPS / steps, 1)
    np.testing.assert_allclose(values(linear(start, steps, end)), expected, atol=1e-6)
    assert values(linear(start, steps, end), np.array([0, steps, 10**8]))[-1] == np.float32(end)


def test_linear_in_no_steps_is_at_its_end():
    assert linear(0.1, 0)(5) == 1.0
    found = [float(linear(0.1, 0, delay=3)(step)) for step in (0, 2, 3, 9)]
    np.testing.assert_allclose(found, [0.1, 0.1, 1, 1])


def test_logistic():
    expected = 0.8 / (1 + np.exp(-0.3 * (STEPS - 20.0)))
    schedule = logistic(20, 0.3, end=0.8)
    np.testing.assert_allclose(values(schedule), expected, rtol=1e-4)
    np.testing.assert_allclose(schedule(20), 0.4, rtol=1e-6)
    # Far from the middle: finite, 0 and `end`.
    far = values(logistic(10**6, 1.0), np.array([0, 10**6, 10**7]))
    np.testing.assert_allclose(far, [0.0, 0.5, 1.0], atol=1e-6)


@pytest.mark.parametrize(
    ("period", "cycles", "ramp", "start", "end"),
    [(10, 4, 0.5, 0.0, 1.0), (12, 3, 1.0, 0.1, 0.6), (8, 2, 0.25, 0.0, 1.0), (5, 1, 0.0, 0.0, 1.0)],
)
def test_cyclical(period, cycles, ramp, start, end):
    rising = max(1, round(ramp * period))
    expected = [
        start + (end - start) * min(step % period / rising, 1) if step < cycles * period else end
        for step in STEPS
    ]
    result = values(cyclical(period, cycles, ramp, start, end))
    np.testing.assert_allclose(result, expected, atol=1e-6)
    # As often as there are cycles it falls back to its start.
    assert np.sum(np.isclose(result[: cycles * period], start)) == cycles


def test_cyclical_defaults_are_those_of_the_source():
    """Rising for half of each cycle, then at 1 for the other half."""
    result = values(cyclical(10, 2))
    np.testing.assert_allclose(result[:10], [0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(result[10:20], result[:10], atol=1e-6)
    np.testing.assert_array_equal(result[20:], np.ones(40))


@pytest.mark.parametrize(("shape", "first"), [("cosine", 0.0), ("logistic", 1 / (1 + np.exp(6)))])
def test_cyclical_ramps_of_other_shapes(shape, first):
    """The released schedules, share by share: cosine of 0 to pi, sigmoid of -6 to 6."""
    start, end = 0.1, 0.7
    curves = {
        "cosine": lambda share: 0.5 * (1 - np.cos(np.pi * share)),
        "logistic": lambda share: 1 / (1 + np.exp(6 - 12 * share)),
    }
    expected = []
    for step in STEPS:
        share = step % 20 / 10  # two cycles of 20, half of each rising
        way = curves[shape](share) if share < 1 and step < 40 else 1.0
        expected.append(start + (end - start) * way)
    result = values(cyclical(20, 2, 0.5, start, end, shape))
    np.testing.assert_allclose(result, expected, atol=1e-6)
    np.testing.assert_allclose(result[[0, 20]], start + (end - start) * first, atol=1e-6)
    np.testing.assert_allclose(result[5], (start + end) / 2, atol=1e-6)  # halfway at half time
    assert set(RAMPS) == {"linear", "cosine", "logistic"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", constant(0.8)),
        ("linear", linear(0.1, 20, 0.8, 5)),
        ("logistic", logistic(20, 0.3, 0.8)),
        ("cyclical", cyclical(20, 2, 0.4, 0.1, 0.8, "cosine")),
    ],
)
def test_a_schedule_is_built_of_its_options_and_the_shared_weights(name, expected):
    options = {"logistic": {"steepness": 0.3}, "cyclical": {"cycles": 2, "ramp": 0.4}}
    options["cyclical"]["shape"] = "cosine"
    component = KL_SCHEDULES[name]
    shared = KLWeight(start=0.1, end=0.8, steps=20, delay=5)
    schedule = component.build(component.options(**options.get(name, {})), shared)
    np.testing.assert_array_equal(values(schedule), values(expected))


def test_all_schedules_are_listed():
    assert set(KL_SCHEDULES) == {"constant", "linear", "logistic", "cyclical"}
