"""The compiled step against a plain Python one, and what it must not compute."""

from functools import lru_cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jvae
from jvae.random import Stream, stream
from jvae.remedies import InnerLoop
from tests.training.setting import (
    BATCH,
    INNER,
    KEY,
    KL_WEIGHT,
    Problem,
    assert_close,
    leaves,
    make_problem,
)


@lru_cache
def gradient_of(model: jvae.VAE):
    """One compiled gradient per model."""

    def loss(params, batch, key, step):
        terms = jvae.elbo(model, params, batch, key=key, train=True)
        losses = KL_WEIGHT(step) * terms.total_kl - terms.log_likelihood
        return jnp.mean(losses), jnp.sum(losses)

    return jax.jit(jax.grad(loss, has_aux=True))


def gradient(problem: Problem, params, row: int, key, step: int):
    """Of the mean loss over a plan's row without its padding, the summed loss, the tokens."""
    index, weight = problem.host_plan.index[row], problem.host_plan.weight[row]
    width = problem.widths[problem.host_plan.bucket[row]]
    real = weight > 0
    tokens = np.asarray(problem.data.x.ids)[index][real, : width + 1]
    lengths = np.asarray(problem.data.x.lengths)[index][real]
    batch = jvae.text_batch(tokens, lengths).replace(index=jnp.asarray(index[real]))
    grads, total = gradient_of(problem.model)(params, batch, key, step)
    return grads, float(total), float(lengths.sum())


def norm_of(tree) -> float:
    return float(np.sqrt(sum(float((leaf.astype(np.float64) ** 2).sum()) for leaf in leaves(tree))))


def descend(params, grads, factor: float):
    return jax.tree.map(lambda p, g: p - factor * g, params, grads)


def reference_step(problem: Problem, params, step: int, row: int, settings: InnerLoop, rate, clip):
    """He et al.'s procedure as a Python loop: encoder until the loss rises, then decoder."""
    key = stream(KEY, Stream.TRAINING, step)
    previous, window_loss, window_tokens, updates = np.inf, 0.0, 0.0, 0
    current = row
    while updates < settings.max_updates:
        inner_key = stream(key, Stream.INNER_LOOP, updates)
        if updates > 0:
            draw = stream(key, Stream.INNER_BATCH, updates)
            current = int(jax.random.randint(draw, (), 0, len(problem.host_plan.bucket)))
        grads, total, tokens = gradient(problem, params, current, inner_key, step)
        limit = norm_of(grads if settings.clip == "joint" else grads["encoder"])
        factor = rate * min(1.0, clip / limit)
        params = params | {"encoder": descend(params["encoder"], grads["encoder"], factor)}
        updates += 1
        window_loss += float(total)
        window_tokens += tokens
        if updates % settings.window == 0:
            mean = window_loss / window_tokens
            if mean > previous:
                break
            previous, window_loss, window_tokens = mean, 0.0, 0.0
    grads, _, _ = gradient(problem, params, row, key, step)
    factor = rate * min(1.0, clip / norm_of(grads))
    return params | {"decoder": descend(params["decoder"], grads["decoder"], factor)}, updates


WORDS = 300  # the output kernel's gradient outweighs the other layers' in the count of operations


def clipped(clip: str) -> Problem:
    """A norm this small limits every update, so that the two kinds of clipping differ."""
    settings = INNER._replace(clip=clip)
    return make_problem(inner=settings, learning_rate=2.0, clip_norm=0.5, vocab_size=WORDS)


@pytest.mark.parametrize("clip", [pytest.param("encoder", marks=pytest.mark.slow), "joint"])
def test_the_compiled_inner_loop_is_the_python_loop(clip):
    settings = INNER._replace(clip=clip)
    problem = clipped(clip)
    state, params, total = problem.state, problem.state.params, 0
    for step in range(3):
        params, updates = reference_step(problem, params, step, step, settings, 2.0, 0.5)
        total += updates
    state = problem.run(state, range(3))
    assert int(state.totals.inner_updates) == total
    # Both exits of the loop were taken: the rule (a multiple of 3 below the limit) or the limit.
    assert 3 * INNER.window <= total < 3 * INNER.max_updates
    assert_close(state.params, params, rtol=2e-4, atol=2e-5)


def test_the_two_kinds_of_clipping_differ_when_active():
    results = [clipped(clip) for clip in ("encoder", "joint")]
    first, second = (leaves(p.run(p.state, range(1)).params["encoder"]) for p in results)
    assert max(np.abs(a - b).max() for a, b in zip(first, second, strict=True)) > 1e-3


def test_all_buckets_are_visited_by_the_tests_above():
    problem = make_problem()
    assert len(set(problem.host_plan.bucket.tolist())) == len(problem.widths) == 2


def test_the_aggressive_phase_moves_the_decoder_only_by_the_outer_update():
    problem = make_problem()
    after = problem.run(problem.state, range(1))
    for name in ("encoder", "decoder"):
        moved = [
            np.abs(a - b).max() > 0
            for a, b in zip(
                leaves(after.params[name]), leaves(problem.state.params[name]), strict=True
            )
        ]
        assert all(moved), name


def test_a_joint_step_moves_every_parameter_and_no_inner_loop_runs():
    problem = make_problem(aggressive=False)
    after = problem.run(problem.state, range(len(problem.host_plan.bucket)))
    for a, b in zip(leaves(after.params), leaves(problem.state.params), strict=True):
        assert np.abs(a - b).max() > 0
    assert float(after.totals.inner_updates) == 0


def test_a_joint_step_is_clipped_sgd_on_the_mean_loss():
    problem = make_problem(aggressive=False, inner=None, learning_rate=0.5, clip_norm=0.7)
    params = problem.state.params
    grads, _, _ = gradient(problem, params, 0, stream(KEY, Stream.TRAINING, 0), 0)
    expected = descend(params, grads, 0.5 * min(1.0, 0.7 / norm_of(grads)))
    assert_close(problem.run(problem.state, range(1)).params, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "num_devices"), [("jit", 2), ("pmap", 2)])
def test_the_sum_over_microbatches_is_the_unsplit_step(mode, num_devices):
    """Dropout and noise belong to the sentence, so that the numbers are the same."""
    whole = make_problem(dropout_in=0.5, dropout_out=0.3)
    split = make_problem(mode, num_devices, microbatches=2, dropout_in=0.5, dropout_out=0.3)
    results = [problem.run(problem.state, range(3)) for problem in (whole, split)]
    assert_close(results[1].params, results[0].params, rtol=1e-4, atol=1e-6)
    assert_close(results[1].totals, results[0].totals, rtol=1e-5)


def test_totals_count_each_sentence_once_and_no_padding_row():
    problem = make_problem(aggressive=False)
    after = problem.run(problem.state, range(len(problem.host_plan.bucket)))
    assert float(after.totals.rows) == 37
    assert float(after.totals.symbols) == float(np.asarray(problem.data.x.lengths).sum())


def test_one_trace_serves_all_steps_and_both_phases():
    problem = make_problem()
    step = jax.jit(chex.assert_max_traces(problem.raw_step, n=1))
    state = problem.state
    for row in range(4):
        scheduled = problem.scheduled(0) | {"kl_weight": np.float32(0.1 * row)}
        where = (problem.data, problem.plan, np.int32(row), scheduled)
        step.trace(state, problem.key, *where)  # not compiled again
        state = problem.run(state, [row])
        state = problem.parallel.place_state(state._replace(aggressive=jnp.bool_(row < 2)))
    assert int(state.step) == 4


def test_the_inner_update_computes_no_weight_gradient_of_the_decoder():
    """Joint clipping needs that gradient, encoder clipping does not: count in the whole."""

    def flops(clip: str) -> float:
        problem = clipped(clip)
        return problem.step.lower(*problem.arguments).compile().cost_analysis()["flops"]

    width = clipped("joint").widths[0]
    output_gradient = 2 * BATCH * width * 7 * WORDS  # hidden^T @ d_logits, hidden size 7
    assert flops("joint") - flops("encoder") > output_gradient


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_four_devices_give_the_numbers_of_one(mode):
    one = make_problem("jit", 1)
    four = make_problem(mode, 4)
    np.testing.assert_array_equal(one.host_plan.index, four.host_plan.index)
    after_one = one.run(one.state, range(4))
    after_four = four.run(four.state, range(4))
    assert float(after_one.totals.inner_updates) == float(after_four.totals.inner_updates)
    assert_close(after_four.params, after_one.params, rtol=1e-4, atol=2e-5)
    assert_close(after_four.totals, after_one.totals, rtol=1e-4)


def test_four_devices_share_the_work():
    problem = make_problem("jit", 4)
    # The very function of the test above, which lies in the cache.
    compiled = problem.step.lower(*problem.arguments).compile()
    assert "all-reduce" in compiled.as_text()


@pytest.mark.parametrize("aggressive", [False, True])
def test_a_non_finite_term_stops_all_updates_and_is_named(aggressive):
    problem = make_problem(aggressive=aggressive)
    healthy = problem.run(problem.state, range(2))
    params = dict(healthy.params)
    params["decoder"] = jax.tree.map(lambda leaf: leaf * jnp.nan, params["decoder"])
    sick = healthy._replace(params=params)
    after = problem.run(sick, range(2, 5))
    assert int(after.fault.term) == 2  # reconstruction, after "kl" and before the gradient
    assert int(after.fault.step) == 2
    assert int(after.fault.row) == 2
    assert int(after.fault.inner) == (0 if aggressive else -1)
    assert int(after.step) == 2
    assert_close(after.params["encoder"], healthy.params["encoder"], rtol=0)


def test_adam_keeps_its_own_state_for_the_inner_loop():
    problem = make_problem(optimiser=optax.scale_by_adam, learning_rate=1e-2)
    after = problem.run(problem.state, range(2))
    inner_count = int(after.inner_opt_state.count)
    assert inner_count == int(after.totals.inner_updates) > 2
    assert int(after.opt_state.count) == 2
