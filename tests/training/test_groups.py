"""What an objective learns and counts beside the model, in the compiled step."""

from functools import lru_cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jvae
from jvae.objectives import Groups, Objective, gradient_of
from jvae.random import Stream, stream
from jvae.remedies.kl_schedules import constant
from jvae.training.checkpoint import open_checkpoints, restore, save
from tests.training.setting import INNER, KEY, NUM, Problem, assert_close, leaves, make_problem

RATE, MOMENTUM = 0.3, 0.8  # of the group's own optimiser
TINY = 0.01  # a clipping norm that scales every gradient down


def with_baseline(objective: Objective, model: jvae.VAE) -> Objective:
    """Learns the mean reconstruction loss by an optimiser of its own: `1/2 (rec - w)^2`."""

    def init(key, params):
        groups = objective.init(key, params)
        start = jax.random.normal(stream(key, Stream.OBJECTIVE))
        return groups._replace(params=groups.params | {"baseline": {"w": start}})

    def apply(params, carried, batch, *, key, scheduled):
        outcome = objective.apply(params, carried, batch, key=key, scheduled=scheduled)
        error = jax.lax.stop_gradient(outcome.metrics["rec"]) - params["baseline"]["w"]
        return outcome._replace(losses=outcome.losses + gradient_of(jnp.square(error) / 2))

    own = {"baseline": optax.sgd(RATE, momentum=MOMENTUM)}
    return objective._replace(init=init, apply=apply, optimisers=own)


def with_count(objective: Objective, model: jvae.VAE) -> Objective:
    """Counts losses, whose mean is carried, weighs the next loss, and moves a parameter."""

    def init(key, params):
        carried = {"loss": jnp.zeros(()), "last": {"rows": jnp.zeros(()), "rec": jnp.zeros(())}}
        return Groups({"counted": {"mean": jnp.zeros(())}}, {"count": carried})

    def apply(params, carried, batch, *, key, scheduled):
        outcome = objective.apply(params, carried, batch, key=key, scheduled=scheduled)
        weight = 1 + 0.01 * carried["count"]["loss"]
        rec = jnp.sum(outcome.metrics["rec"] * batch.weight)
        statistics = {"count": {"rows": jnp.sum(batch.weight), "rec": rec}}
        return outcome._replace(losses=weight * outcome.losses, statistics=statistics)

    def after(params, carried, statistics):
        last = statistics["count"]
        mean = last["rec"] / last["rows"]
        old = carried["count"]["loss"]
        count = {"loss": old + 0.2 * (mean - old), "last": last}
        # The group has no gradient: the joint optimiser leaves it, and this alone moves it.
        counted = {"mean": params["counted"]["mean"] + mean}
        return params | {"counted": counted}, {"count": count}

    return objective._replace(init=init, apply=apply, after=after)


def with_both(objective: Objective, model: jvae.VAE) -> Objective:
    """An objective that wraps one that wraps one."""
    counted = with_count(objective, model)
    learnt = with_baseline(counted, model)
    assert learnt.after is counted.after
    return learnt


def joint(mode: str = "jit", num_devices: int = 1, **options) -> Problem:
    options = {"inner": None, "aggressive": False, "kl_weight": constant()} | options
    return make_problem(mode, num_devices, **options)


def of_row(problem: Problem, row: int) -> tuple[float, float]:
    """The real rows of a plan's row, and their mean reconstruction loss before any update."""
    index, weight = problem.host_plan.index[row], problem.host_plan.weight[row]
    index = index[weight > 0]
    tokens, lengths = problem.data.x.ids[index], problem.data.x.lengths[index]
    batch = jvae.text_batch(tokens, lengths).replace(index=jnp.asarray(index))
    key = stream(KEY, Stream.TRAINING, 0)
    terms = jax.jit(lambda *args: jvae.elbo(problem.model, *args, key=key, train=True))(
        problem.state.params, batch
    )
    return float(len(index)), float(-jnp.mean(terms.log_likelihood))


def test_a_group_with_its_own_optimiser_is_moved_by_it_alone():
    """Neither learning rate nor clipping nor learning-rate decay reach it."""
    problem = joint(remedy=with_baseline, learning_rate=0.125, clip_norm=TINY)
    decayed = problem.state._replace(lr_scale=jnp.float32(0.25))
    _, mean = of_row(problem, 0)
    start = float(problem.state.params["baseline"]["w"])
    assert abs(mean - start) > 100 * TINY  # clipping would show
    expected = start + RATE * (mean - start)
    for state in (problem.state, decayed):
        after = problem.run(state, [0])
        assert float(after.totals.clipped) == 1
        assert float(after.params["baseline"]["w"]) == pytest.approx(expected, rel=1e-5)
        [trace] = leaves(after.own_opt_states["baseline"])
        assert trace == pytest.approx(start - mean, rel=1e-5)
    # A second step has the momentum of the first.
    second = problem.run(after, [0])
    [trace] = leaves(second.own_opt_states["baseline"])
    moved = float(second.params["baseline"]["w"] - after.params["baseline"]["w"])
    assert moved == pytest.approx(-RATE * trace, rel=1e-4)


def test_the_model_is_trained_as_without_the_group():
    """The group takes no part in the clipping norm, which its gradient would exceed alone."""
    plain, learnt = (
        joint(clip_norm=TINY, **options) for options in ({}, {"remedy": with_baseline})
    )
    expected, found = (problem.run(problem.state, range(3)) for problem in (plain, learnt))
    assert expected.params.keys() | {"baseline"} == found.params.keys()
    for name, group in expected.params.items():
        assert_close(found.params[name], group, rtol=1e-5, atol=1e-7)
    assert_close(found.totals, expected.totals, rtol=1e-5)


def test_the_learning_rate_decay_scales_all_other_groups():
    problem = joint(remedy=with_baseline, clip_norm=TINY)
    halved = problem.state._replace(lr_scale=jnp.float32(0.5))
    changes = [
        optax.tree.sub(problem.run(state, [0]).params["decoder"], state.params["decoder"])
        for state in (problem.state, halved)
    ]
    assert_close(changes[1], optax.tree.scale(0.5, changes[0]), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("clip", [pytest.param("encoder", marks=pytest.mark.slow), "joint"])
def test_an_aggressive_step_moves_the_group_once_and_clips_without_it(clip):
    inner = INNER._replace(clip=clip)
    plain, learnt = (
        make_problem(inner=inner, clip_norm=0.5, kl_weight=constant(), **options)
        for options in ({}, {"remedy": with_baseline})
    )
    expected, found = (problem.run(problem.state, [0, 1]) for problem in (plain, learnt))
    assert float(found.totals.inner_updates) == float(expected.totals.inner_updates) > 2
    for name, group in expected.params.items():
        assert_close(found.params[name], group, rtol=1e-4, atol=1e-6)
    # Two updates, of the momentum's first two steps: the loss lies between those of the totals.
    start, recs = float(learnt.state.params["baseline"]["w"]), []
    for rows in ([0], [0, 1]):
        totals = learnt.run(learnt.state, rows).totals
        recs.append((float(totals.metrics["rec"]), float(totals.rows)))
    (rec, rows), (both, all_rows) = recs
    first = RATE * (rec / rows - start)
    second = MOMENTUM * first + RATE * ((both - rec) / (all_rows - rows) - start - first)
    moved = float(found.params["baseline"]["w"]) - start
    assert moved == pytest.approx(first + second, rel=1e-4)


@lru_cache
def unsplit() -> tuple[Problem, list]:
    """One device, the whole batch at once; the states after each of an epoch's steps."""
    problem = joint(remedy=with_both)
    states = [problem.state]
    for row in range(len(problem.host_plan.bucket)):
        states.append(problem.run(states[-1], [row]))
    return problem, states


def test_statistics_are_sums_over_real_rows_and_after_sees_them_once_an_update():
    problem, states = unsplit()
    rows, mean = of_row(problem, 0)
    last = states[1].carried["count"]["last"]
    assert float(last["rows"]) == rows
    assert float(last["rec"]) / rows == pytest.approx(mean, rel=1e-5)
    assert float(states[1].carried["count"]["loss"]) == pytest.approx(0.2 * mean, rel=1e-5)
    totals = [jax.tree.map(float, state.totals) for state in states]
    means, rows = [], []
    for before, after in zip(totals, totals[1:], strict=False):
        rows.append(after.rows - before.rows)
        means.append((after.metrics["rec"] - before.metrics["rec"]) / rows[-1])
    seen = [float(state.carried["count"]["last"]["rows"]) for state in states[1:]]
    assert seen == rows and sum(rows) == NUM and len(set(rows)) > 1  # padding rows are among them
    counted = [float(state.params["counted"]["mean"]) for state in states[1:]]
    np.testing.assert_allclose(counted, np.cumsum(means), rtol=1e-4)
    loss = 0.0
    for state, mean in zip(states[1:], means, strict=True):
        loss += 0.2 * (mean - loss)
        assert float(state.carried["count"]["loss"]) == pytest.approx(loss, rel=1e-4)


def test_the_step_reads_what_was_carried():
    _, states = unsplit()
    totals = [jax.tree.map(float, state.totals) for state in states]
    for before, after, state in zip(totals, totals[1:], states, strict=False):
        bound = sum(after.metrics.values()) - sum(before.metrics.values())
        weight = 1 + 0.01 * float(state.carried["count"]["loss"])
        assert after.loss - before.loss == pytest.approx(weight * bound, rel=1e-3)
    assert weight > 1.05


SPLIT = {
    "2 microbatches": ("jit", 1, {"microbatches": 2}),
    "4 devices": ("jit", 4, {}),
    "mesh of 2 x 2": ("jit", 4, {"model_shards": 2}),
    "2 microbatches on 2 devices": ("jit", 2, {"microbatches": 2}),
    "pmap of 4": ("pmap", 4, {}),
    "2 microbatches, pmap of 2": ("pmap", 2, {"microbatches": 2}),
}
SLOW = ("2 microbatches on 2 devices", "pmap of 4", "2 microbatches, pmap of 2")
CASES = [
    pytest.param(*case, id=name, marks=[pytest.mark.slow] * (name in SLOW))
    for name, case in SPLIT.items()
]


@pytest.mark.parametrize(("mode", "num_devices", "options"), CASES)
def test_groups_and_counts_are_those_of_the_unsplit_step(mode, num_devices, options):
    _, states = unsplit()
    problem = joint(mode, num_devices, remedy=with_both, **options)
    rows = range(len(problem.host_plan.bucket))
    first = problem.run(problem.state, rows[:1])
    assert float(first.carried["count"]["last"]["rows"]) == float(
        states[1].carried["count"]["last"]["rows"]
    )
    for expected, found in ((states[1], first), (states[-1], problem.run(first, rows[1:]))):
        for field in ("params", "own_opt_states", "carried", "totals"):
            ours, theirs = getattr(found, field), getattr(expected, field)
            assert_close(ours, theirs, rtol=2e-4, atol=2e-5)


def test_a_resumed_state_goes_on_with_what_the_objective_learns_and_counts(tmp_path):
    problem, states = unsplit()
    manager = open_checkpoints(tmp_path)
    save(manager, states[2], {}, None)
    resumed = restore(manager, jax.tree.map(jnp.zeros_like, states[2]))
    manager.close()
    assert len(jax.tree.leaves(resumed.carried)) == 3
    assert len(jax.tree.leaves(resumed.own_opt_states)) == 1
    assert_close(resumed, states[2], rtol=0)
    assert_close(problem.run(resumed, [2, 3]), states[4], rtol=0)


def test_a_group_that_is_lost_stops_all_updates():
    """It has no metric: the gradient's code names it, and what is counted stays too."""
    problem, states = unsplit()
    nan = jax.tree.map(lambda leaf: leaf * jnp.nan, states[2].params["baseline"])
    sick = states[2]._replace(params=states[2].params | {"baseline": nan})
    after = problem.run(problem.parallel.place_state(sick), [2, 3])
    assert int(after.fault.term) == 3  # after "kl" and "rec"
    assert (int(after.fault.step), int(after.fault.row), int(after.fault.inner)) == (2, 2, -1)
    assert int(after.step) == 2
    for field in ("own_opt_states", "carried", "totals", "opt_state"):
        assert_close(getattr(after, field), getattr(states[2], field), rtol=0)
    assert_close(after.params["encoder"], states[2].params["encoder"], rtol=0)


def change(problem: Problem, group: str, **scheduled) -> list[np.ndarray]:
    """What a first step with other numbers does to a group."""
    schedules = {name: optax.constant_schedule(value) for name, value in scheduled.items()}
    problem = problem._replace(schedules=problem.schedules | schedules)
    after = problem.run(problem.state, [0]).params[group]
    return leaves(optax.tree.sub(after, problem.state.params[group]))


def test_rates_and_clipping_norm_are_numbers_of_one_compiled_function():
    problem = joint()
    step = jax.jit(chex.assert_max_traces(problem.raw_step, n=1))
    problem = problem._replace(step=step)
    base = change(problem, "encoder", learning_rate=0.2, clip_norm=0.1)
    for numbers, factor in (
        ({"learning_rate": 0.6, "clip_norm": 0.1}, 3),
        ({"learning_rate": 0.2, "clip_norm": 0.05}, 0.5),
        ({"learning_rate": 0.2, "clip_norm": 0.1, "inner_learning_rate": 7.0}, 1),
        ({"learning_rate": 0.0, "clip_norm": 0.1}, 0),
    ):
        found = change(problem, "encoder", **numbers)
        for ours, theirs in zip(found, base, strict=True):
            np.testing.assert_allclose(ours, factor * theirs, rtol=2e-3, atol=3e-7)
    assert max(np.abs(leaf).max() for leaf in base) > 1e-3
    assert step._cache_size() == 1


def test_the_inner_loop_has_a_rate_of_its_own():
    problem = make_problem()
    encoder = change(problem, "encoder", learning_rate=0.0)
    assert max(np.abs(leaf).max() for leaf in encoder) > 1e-2
    assert all(np.all(leaf == 0) for leaf in change(problem, "decoder", learning_rate=0.0))
    still = change(problem, "encoder", inner_learning_rate=0.0)
    assert all(np.all(leaf == 0) for leaf in still)
