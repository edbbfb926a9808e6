"""Weights that follow the KL: against NumPy, in the compiled step, and on a known landscape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jvae.remedies.kl_schedules import constant
from jvae.remedies.rate_control import minimum_rate, soft_free_bits
from jvae.training.checkpoint import open_checkpoints, restore, save
from tests.training.setting import assert_close, make_problem

RATE = 3.0


def by_hand_minimum_rate(kls, learning_rate: float) -> list[float]:
    """RMSprop ascent of `u (rate - KL)`, u at least 0: the weights `1 - u` before each update."""
    multiplier, square, weights = 1.01, 0.0, []
    for kl in kls:
        weights.append(1 - multiplier)
        gradient = RATE - kl
        square = 0.99 * square + 0.01 * gradient**2
        multiplier = max(0.0, multiplier + learning_rate * gradient / np.sqrt(square + 1e-8))
    return weights


def by_hand_soft_free_bits(kls) -> list[float]:
    gamma, weights = 1.0, []
    for kl in kls:
        weights.append(gamma)
        if kl < RATE:
            gamma /= 1.1
        elif kl > 1.05 * RATE:
            gamma *= 1.1
        gamma = min(max(gamma, 1e-4), 1.0)
    return weights


def weights_of(control, kls) -> list[float]:
    state, weights = control.init(), []
    for kl in kls:
        weights.append(float(control.kl_weight(state)))
        state = control.update(state, jnp.float32(kl))
    return weights


KLS = np.concatenate([[0.5, 0.6, 2.0, 3.1, 3.2, 5.0], np.full(40, 9.0), np.full(4, 2.9)])


def test_minimum_rate_is_rmsprop_ascent_of_a_multiplier_that_stays_positive():
    expected = by_hand_minimum_rate(KLS, 0.05)
    np.testing.assert_allclose(weights_of(minimum_rate(RATE, 0.05), KLS), expected, atol=1e-5)
    assert min(expected) < -0.5 and max(expected) == 1.0  # the KL pushed up; the constraint idle
    assert weights_of(minimum_rate(), [0.0]) == [pytest.approx(-0.01)]  # the source's start


def test_soft_free_bits_changes_by_a_tenth_outside_its_band():
    expected = by_hand_soft_free_bits(KLS)
    np.testing.assert_allclose(weights_of(soft_free_bits(RATE), KLS), expected, rtol=1e-5)
    assert min(expected) < 0.8 and expected[-5] == 1.0
    lost = weights_of(soft_free_bits(RATE), np.zeros(150))
    assert lost[-1] == pytest.approx(1e-4) and lost[50] > 1e-4


@pytest.mark.parametrize("control", [minimum_rate(RATE, 0.02), soft_free_bits(RATE, factor=1.01)])
def test_the_rate_is_held_where_the_bound_alone_would_lose_it(control):
    """KL = m^2 / 2 and a reconstruction that gains less than m costs: the ELBO's optimum is 0.

    By hand: `d/dm (-0.8 m^2 / 2 + w m^2 / 2) = 0` at weight w = 0.8, whatever the rate.
    """

    def turn(carry, _):
        mean, state = carry
        weight = control.kl_weight(state)
        mean = mean - 0.05 * (weight - 0.8) * mean
        return (mean, control.update(state, mean**2 / 2)), (mean**2 / 2, weight)

    start = (jnp.float32(1.0), control.init())
    _, (kls, weights) = jax.jit(lambda c: jax.lax.scan(turn, c, None, length=4000))(start)
    np.testing.assert_allclose(np.mean(kls[2000:]), RATE, rtol=0.1)
    np.testing.assert_allclose(np.mean(weights[2000:]), 0.8, atol=0.05)


def test_the_step_weighs_the_kl_by_the_state_updates_it_and_a_resumed_state_goes_on(tmp_path):
    control = minimum_rate(RATE, 0.1)
    problem = make_problem(aggressive=False, inner=None, kl_weight=constant(), rate_control=control)
    states = [problem.state]
    for row in range(4):
        states.append(problem.run(states[-1], [row]))
    totals = [jax.tree.map(float, state.totals) for state in states]
    kls, weights = [], []
    for before, after in zip(totals, totals[1:], strict=False):
        sentences, kl = after.sentences - before.sentences, after.kl - before.kl
        kls.append(kl / sentences)
        weights.append((after.loss - before.loss - after.rec + before.rec) / kl)
    expected = by_hand_minimum_rate(kls, 0.1)
    np.testing.assert_allclose(weights, expected, atol=2e-3)
    assert len({round(weight, 3) for weight in expected}) == 4

    # Through a checkpoint, bit by bit.
    manager = open_checkpoints(tmp_path)
    save(manager, states[2], {}, None)
    resumed = restore(manager, jax.tree.map(jnp.zeros_like, states[2]))
    manager.close()
    assert_close(problem.run(resumed, [2, 3]), states[4], rtol=0)
