"""Objectives: losses of a bound, parts that wrap them, and what is counted beside."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.objectives import add_losses, bound_objective, gradient_of
from jvae.remedies import iwae, negative_iwae
from tests.test_linear_gaussian import BATCH, CORRELATED, MODEL, N, make_params, wrong

KEY = jax.random.key(1)
PARAMS = make_params(wrong(CORRELATED), CORRELATED)
HALF = {"kl_weight": 0.5}
PLAIN = bound_objective(MODEL, jvae.negative_elbo)


def run(objective, params=PARAMS, batch=BATCH, scheduled=HALF, carried=None):
    apply = partial(objective.apply, key=KEY, scheduled=scheduled)
    return jax.jit(apply)(params, carried or {}, batch)


def test_a_bound_is_weighed_by_its_loss_and_logged_at_weight_one():
    outcome = run(PLAIN)
    terms = jax.jit(partial(jvae.elbo, MODEL, train=True))(PARAMS, BATCH, key=KEY)
    assert outcome.losses.shape == (N,)
    np.testing.assert_allclose(
        outcome.losses, 0.5 * terms.total_kl - terms.log_likelihood, rtol=1e-6
    )
    np.testing.assert_allclose(outcome.metrics["rec"], -terms.log_likelihood, rtol=1e-6)
    np.testing.assert_allclose(outcome.metrics["kl"], terms.total_kl, rtol=1e-6)
    assert set(outcome.metrics) == {"rec", "kl"}
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), outcome.terms, terms)
    # A model without counted parts has nothing beside its parameters.
    assert outcome.statistics == {}
    assert PLAIN.init(KEY, PARAMS) == ({}, {})
    params, carried = PLAIN.after(PARAMS, {"kept": 1}, outcome.statistics)
    assert params is PARAMS and carried == {"kept": 1}
    assert PLAIN.optimisers == {}
    assert PLAIN.describe({}, HALF) == HALF


def test_another_bound_and_more_samples_are_arguments():
    objective = bound_objective(MODEL, negative_iwae, terms_of=iwae, num_samples=3)
    terms = jax.jit(partial(iwae, MODEL, num_samples=3, train=True))(PARAMS, BATCH, key=KEY)
    outcome = run(objective)
    np.testing.assert_allclose(outcome.losses, -terms.bound, rtol=1e-6)
    np.testing.assert_allclose(outcome.metrics["kl"], terms.total_kl, rtol=1e-6)
    several = run(bound_objective(MODEL, jvae.negative_elbo, num_samples=5))
    assert several.terms.z.shape == (5, N, 2)


def test_the_loss_sees_the_weight_of_the_batch():
    def loss(terms, scheduled, weight):
        return weight - terms.log_likelihood

    weight = jnp.asarray([1.0, 1, 0, 1])
    outcome = run(bound_objective(MODEL, loss), batch=BATCH.replace(weight=weight))
    np.testing.assert_allclose(outcome.losses - outcome.metrics["rec"], weight, atol=1e-5)


def test_added_losses_see_everything_and_leave_the_rest_alone():
    seen = {}

    def extra(params, batch, outcome, key):
        seen.update(params=params, batch=batch, outcome=outcome, key=key)
        return 3.0 * outcome.terms.total_kl

    objective = add_losses(PLAIN, extra)
    outcome, plain = run(objective), run(PLAIN)
    np.testing.assert_allclose(outcome.losses, plain.losses + 3 * plain.metrics["kl"], rtol=1e-6)
    for field in ("terms", "statistics", "metrics"):
        ours, theirs = getattr(outcome, field), getattr(plain, field)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), ours, theirs)
    assert set(seen["params"]) == set(PARAMS) and seen["outcome"].losses.shape == (N,)
    assert objective.init is PLAIN.init and objective.after is PLAIN.after
    # Several add up.
    twice = run(add_losses(objective, extra))
    np.testing.assert_allclose(twice.losses, plain.losses + 6 * plain.metrics["kl"], rtol=1e-6)


def test_a_gradient_without_a_value():
    x = jnp.asarray([0.3, -2.0, 5.0])

    def total(x):
        values = gradient_of(jnp.sin(x) * x[0])
        return jnp.sum(jnp.asarray([1.0, 2.0, 4.0]) * values), values

    (value, values), grad = jax.jit(jax.value_and_grad(total, has_aux=True))(x)
    np.testing.assert_array_equal(values, np.zeros(3))
    assert value == 0
    # `d (sum_i w_i sin(x_i) x_0)`
    a, w = np.asarray(x, np.float64), np.array([1, 2, 4])
    expected = w * np.cos(a) * a[0]
    expected[0] += w @ np.sin(a)
    np.testing.assert_allclose(grad, expected, rtol=1e-5)
    # Added to a loss it moves the parameters alone.
    both = jax.jit(jax.value_and_grad(lambda x: jnp.sum(x**2 + gradient_of(x**3))))(x)
    np.testing.assert_allclose(both[0], np.sum(a**2), rtol=1e-6)
    np.testing.assert_allclose(both[1], 2 * a + 3 * a**2, rtol=1e-6)


@pytest.mark.parametrize("wrapped", [False, True])
def test_what_the_encoder_counts_is_summed_and_brought_up_to_date_after_an_update(wrapped):
    """Statistics of two halves add up to those of the whole, and `after` reads them once."""

    def apply(params, batch, context, *, key, train):
        q = MODEL.encoder.apply(params["own"], batch, context, key=key, train=train)
        if not train:
            return q
        sums = {"mean": batch.weight @ q.mean, "rows": jnp.sum(batch.weight)}
        return jvae.Inference(q, statistics=sums)

    def after(params, statistics):
        return params | {"counted": statistics["mean"] / statistics["rows"]}

    encoder = jvae.Encoder(MODEL.encoder.init, apply, after=after)
    objective = bound_objective(MODEL._replace(encoder=encoder), jvae.negative_elbo)
    if wrapped:
        objective = add_losses(objective, lambda params, batch, outcome, key: jnp.zeros(batch.rows))
    params = PARAMS | {"encoder": {"own": PARAMS["encoder"], "counted": jnp.zeros(2)}}
    weight = jnp.asarray([1.0, 0, 1, 1])
    batch = BATCH.replace(weight=weight)
    whole = run(objective, params, batch)
    halves = [
        run(objective, params, jax.tree.map(lambda leaf, part=part: leaf[part], batch)).statistics
        for part in (slice(0, 2), slice(2, 4))
    ]
    added = jax.tree.map(jnp.add, *halves)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), added, whole.statistics)
    new, _ = objective.after(params, {}, added)
    expected = np.asarray(PARAMS["encoder"]["mean"])[[0, 2, 3]].mean(axis=0)
    np.testing.assert_allclose(new["encoder"]["counted"], expected, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, new["encoder"]["own"], PARAMS["encoder"])
    np.testing.assert_array_equal(new["decoder"], params["decoder"])
