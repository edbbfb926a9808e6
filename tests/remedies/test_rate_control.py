"""Weights that follow the KL: against NumPy, in the compiled step, and on a known landscape."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.objectives import Groups, bound_objective
from jvae.remedies.kl_schedules import constant
from jvae.remedies.rate_control import (
    SoftFreeBitsOptions,
    build_soft_free_bits,
    minimum_rate,
    soft_free_bits,
    with_rate_control,
)
from jvae.training.checkpoint import open_checkpoints, restore, save
from tests.test_linear_gaussian import BATCH, CORRELATED, MODEL, make_params, wrong
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


KEY = jax.random.key(0)
PARAMS = make_params(wrong(CORRELATED), CORRELATED)
PLAIN = bound_objective(MODEL, jvae.negative_elbo)
ONE = {"kl_weight": 1.0}


def run(objective: jvae.Objective, carried, batch: jvae.Batch = BATCH) -> jvae.Outcome:
    apply = partial(objective.apply, key=KEY, scheduled=ONE)
    return jax.jit(apply)(PARAMS, carried, batch)


def test_the_state_is_carried_and_no_parameter():
    objective = with_rate_control(PLAIN, minimum_rate(RATE))
    groups = objective.init(KEY, PARAMS)
    assert groups.params == {} and set(groups.carried) == {"rate_control"}
    assert objective.optimisers == {}
    described = objective.describe(groups.carried, ONE | {"learning_rate": 0.5})
    assert described["kl_weight"] == pytest.approx(-0.01) and described["learning_rate"] == 0.5
    # What a wrapped objective adds stays.
    inner = PLAIN._replace(init=lambda key, params: Groups({"head": 1}, {"counted": 2}))
    groups = with_rate_control(inner, soft_free_bits(RATE)).init(KEY, PARAMS)
    assert groups.params == {"head": 1} and set(groups.carried) == {"counted", "rate_control"}


def test_the_kl_has_the_weight_of_the_state_and_its_gradient_too():
    control = minimum_rate(RATE)
    objective = with_rate_control(PLAIN, control)
    plain = run(PLAIN, {})
    for multiplier in (0.0, 0.7, 3.0):
        carried = {"rate_control": (jnp.float32(multiplier), control.init()[1])}
        outcome = run(objective, carried)
        expected = plain.metrics["rec"] + (1 - multiplier) * plain.metrics["kl"]
        np.testing.assert_allclose(outcome.losses, expected, rtol=1e-5, atol=1e-5)
        # The log has the bound itself.
        jax.tree.map(np.testing.assert_array_equal, outcome.metrics, plain.metrics)

    def total(multiplier, encoder):
        carried = {"rate_control": (multiplier, control.init()[1])}
        params = PARAMS | {"encoder": encoder}
        return jnp.sum(objective.apply(params, carried, BATCH, key=KEY, scheduled=ONE).losses)

    def kl(encoder):
        return jnp.sum(jvae.elbo(MODEL, PARAMS | {"encoder": encoder}, BATCH, key=KEY).total_kl)

    @jax.jit
    def gradients(encoder):
        two = jax.grad(total, 1)(jnp.float32(2.0), encoder)
        return jax.tree.map(jnp.subtract, jax.grad(total, 1)(jnp.float32(0.0), encoder), two), (
            jax.grad(kl)(encoder)
        )

    difference, of_kl = gradients(PARAMS["encoder"])
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
    jax.tree.map(lambda ours, theirs: close(ours, 2 * theirs), difference, of_kl)


@pytest.mark.parametrize("control", [minimum_rate(RATE, 0.1), soft_free_bits(RATE)])
def test_parts_of_a_batch_update_the_state_as_the_whole(control):
    """Sums over the real rows add, whatever the parts' sizes; a padding row counts for nothing."""
    objective = with_rate_control(PLAIN, control)
    carried = objective.init(KEY, PARAMS).carried
    batch = BATCH.replace(weight=jnp.asarray([1.0, 1, 1, 0]))
    whole = run(objective, carried, batch)
    halves = [
        run(objective, carried, jax.tree.map(lambda leaf, part=part: leaf[part], batch)).statistics
        for part in (slice(0, 2), slice(2, 4))
    ]
    added = jax.tree.map(jnp.add, *halves)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), added, whole.statistics)
    assert added["rate_control"]["rows"] == 3
    params, after = objective.after(PARAMS, carried | {"other": 1}, added)
    assert params is PARAMS and after["other"] == 1
    mean = np.asarray(whole.metrics["kl"], np.float64)[:3].mean()
    assert mean != pytest.approx(float(np.mean(whole.metrics["kl"])), rel=1e-3)
    expected = control.update(control.init(), jnp.float32(mean))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), after["rate_control"], expected)
    assert control.kl_weight(after["rate_control"]) != control.kl_weight(control.init())


CONTROL = minimum_rate(RATE, 0.1)


def held(objective: jvae.Objective, model: jvae.VAE) -> jvae.Objective:
    return with_rate_control(objective, CONTROL)


def test_the_step_weighs_the_kl_by_the_state_updates_it_and_a_resumed_state_goes_on(tmp_path):
    problem = make_problem(aggressive=False, inner=None, kl_weight=constant(), remedy=held)
    states = [problem.state]
    for row in range(4):
        states.append(problem.run(states[-1], [row]))
    totals = [jax.tree.map(float, state.totals) for state in states]
    kls, weights = [], []
    for before, after in zip(totals, totals[1:], strict=False):
        rows = after.rows - before.rows
        kl, rec = (after.metrics[name] - before.metrics[name] for name in ("kl", "rec"))
        kls.append(kl / rows)
        weights.append((after.loss - before.loss - rec) / kl)
    expected = by_hand_minimum_rate(kls, 0.1)
    np.testing.assert_allclose(weights, expected, atol=2e-3)
    assert len({round(weight, 3) for weight in expected}) == 4
    # The log has the weight of the state.
    now = problem.objective.describe(states[4].carried, problem.scheduled(4))["kl_weight"]
    np.testing.assert_allclose(now, by_hand_minimum_rate([*kls, 0.0], 0.1)[4], rtol=1e-4)

    # Through a checkpoint, bit by bit.
    manager = open_checkpoints(tmp_path)
    save(manager, states[2], {}, None)
    resumed = restore(manager, jax.tree.map(jnp.zeros_like, states[2]))
    manager.close()
    assert_close(problem.run(resumed, [2, 3]), states[4], rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("microbatches", [2, 4])
def test_microbatches_leave_the_weight_as_it_is(microbatches):
    options = {"inner": None, "kl_weight": constant(), "remedy": held, "dropout_in": 0.0}
    whole, parts = (
        make_problem(aggressive=False, microbatches=number, **options)
        for number in (1, microbatches)
    )
    ends = [problem.run(problem.state, [0, 1]).carried for problem in (whole, parts)]
    assert_close(ends[1], ends[0], rtol=1e-4)
    assert np.all(ends[0]["rate_control"][0] != whole.state.carried["rate_control"][0])


def test_the_options_of_soft_free_bits_reach_it():
    control = build_soft_free_bits(SoftFreeBitsOptions(rate=RATE, factor=1.01), None)
    lost = weights_of(control, np.zeros(5))
    np.testing.assert_allclose(lost[1:4], 1.01 ** -np.arange(1.0, 4.0), rtol=1e-5)
