"""Posterior maps: their equations, the bounds that they promise, and the running moments."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import lambertw

import jvae
from jvae.distributions import ANALYTIC_KL, DiagonalGaussian
from jvae.remedies import batch_norm, committed_rate, diversity
from jvae.remedies.batch_norm import EPSILON, MOMENTUM
from jvae.remedies.committed_rate import variance_bounds
from jvae.remedies.diversity import FLOOR
from jvae.training.measured import with_measured
from jvae.training.state import create_state
from jvae.training.steps import DeviceCorpus, DevicePlan
from tests.conftest import make_batch

STANDARD = DiagonalGaussian(jnp.zeros((1, 2)), jnp.zeros((1, 2)))
kl_of = ANALYTIC_KL[DiagonalGaussian, DiagonalGaussian]


def apply(params, batch, *, key, train):
    """Posteriors read from a table by the sentence's number."""
    return DiagonalGaussian(params["mean"][batch.index], params["log_var"][batch.index])


def by_length(params, batch, *, key, train):
    """Means that follow from the sentence itself."""
    mean = params["mean"] * batch.x.lengths[:, None]
    return DiagonalGaussian(mean, jnp.zeros_like(mean))


RNG = np.random.default_rng(0)
MEAN = np.asarray(3 * RNG.normal(size=(6, 2)) + [5, -2], np.float32)
LOG_VAR = np.asarray(RNG.normal(size=(6, 2)), np.float32)
TABLE = {"mean": jnp.asarray(MEAN), "log_var": jnp.asarray(LOG_VAR)}
PLAIN = jvae.Encoder(lambda key, batch: TABLE, apply)
BATCH = make_batch(6, 4)._replace(weight=jnp.asarray([1.0, 1, 1, 1, 0, 0]))


def test_means_are_normalised_over_the_real_rows_and_the_bound_holds():
    gamma = 0.7
    encoder = batch_norm(PLAIN, gamma=gamma, latent_size=2)
    params = encoder.init(jax.random.key(0), BATCH) | {"shift": jnp.asarray([0.5, 0.0])}
    q = encoder.apply(params, BATCH, key=None, train=True)
    real = MEAN[:4].astype(np.float64)
    variance = real.var(axis=0)
    shift = np.array([0.5, 0])
    expected = gamma * (real - real.mean(axis=0)) / np.sqrt(variance + EPSILON) + shift
    np.testing.assert_allclose(q.mean[:4], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(q.log_var, LOG_VAR)
    bound = 0.5 * np.sum(shift**2 + gamma**2 * variance / (variance + EPSILON))
    assert kl_of(q, STANDARD)[:4].sum(axis=1).mean() > bound
    # It is attained where every variance is 1, however close the encoder's own means are.
    for scale in (1.0, 1e-3):
        table = {"mean": scale * TABLE["mean"], "log_var": jnp.zeros((6, 2))}
        q = encoder.apply(params | {"encoder": table}, BATCH, key=None, train=True)
        least = 0.5 * np.sum(shift**2 + gamma**2 / (1 + EPSILON / (scale**2 * variance)))
        kl = kl_of(q, STANDARD)[:4].sum(axis=1).mean()
        np.testing.assert_allclose(kl, least, rtol=1e-3)


def test_evaluation_takes_running_moments_that_have_no_gradient():
    encoder = batch_norm(PLAIN, gamma=0.5, latent_size=2)
    params = encoder.init(jax.random.key(0), BATCH)
    q = encoder.apply(params, BATCH, key=None, train=False)  # mean 0, variance 1 so far
    np.testing.assert_allclose(q.mean, 0.5 * MEAN / np.sqrt(1 + EPSILON), rtol=1e-5)
    one = jax.tree.map(lambda field: field[:1], BATCH)  # whatever else is in the batch
    alone = encoder.apply(params, one, key=None, train=False)
    np.testing.assert_allclose(alone.mean, q.mean[:1], rtol=1e-6)

    def total(params):
        return jnp.sum(encoder.apply(params, BATCH, key=None, train=True).mean ** 3)

    grads = jax.grad(total)(params)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads["running"]))
    assert np.any(grads["encoder"]["mean"] != 0) and np.any(grads["shift"] != 0)


@pytest.mark.parametrize(("fault", "before"), [(0, 0), (0, 3), (0, 50), (3, 0)])
def test_a_step_measures_its_own_batch_with_its_new_parameters(fault, before):
    plain = jvae.Encoder(lambda key, batch: {"mean": jnp.asarray([1.0, -2.0])}, by_length)
    encoder = batch_norm(plain, gamma=0.5, latent_size=2)
    lengths = np.array([2, 4, 3, 5], np.int32)
    corpus = DeviceCorpus(jnp.zeros((4, 6), jnp.int32), jnp.asarray(lengths))
    plan = DevicePlan(
        jnp.asarray([0, 1]), jnp.asarray([[0, 2, 2], [3, 1, 0]]), jnp.asarray([[1.0, 1, 0]] * 2)
    )
    params = {"encoder": encoder.init(jax.random.key(0), BATCH) | {"measured": jnp.float32(before)}}
    rate = max(MOMENTUM, 1 / (before + 1))
    state = create_state(params, optax.sgd(1.0), optax.sgd(1.0), aggressive=False)

    def step(state, key, corpus, plan, row, scheduled):
        new = jax.tree.map(lambda leaf: leaf, state.params)
        new["encoder"]["encoder"] = {"mean": 3 * state.params["encoder"]["encoder"]["mean"]}
        return state._replace(params=new, fault=state.fault._replace(term=jnp.int32(fault)))

    rows = []
    measured = with_measured(step, encoder, (3, 5), lambda r: rows.append(r) or r)
    after = measured(state, jax.random.key(0), corpus, plan, jnp.int32(1), {})
    assert rows, "rows are placed as the step places them"
    running = after.params["encoder"]["running"]
    if fault:
        np.testing.assert_array_equal(running["mean"], np.zeros(2))
        np.testing.assert_array_equal(running["var"], np.ones(2))
        return
    means = np.array([3.0, -6.0]) * lengths[[3, 1], None]
    np.testing.assert_allclose(running["mean"], rate * means.mean(axis=0), rtol=1e-6)
    expected = 1 + rate * (means.var(axis=0) - 1)
    np.testing.assert_allclose(running["var"], expected, rtol=1e-5)
    np.testing.assert_array_equal(after.params["encoder"]["encoder"]["mean"], [3, -6])


def test_diversity_shares_gamma_among_the_means_and_drops_variances():
    gamma, rate, size = 0.5, 0.25, 2
    encoder = diversity(PLAIN, gamma=gamma, rate=rate, latent_size=size)
    params = encoder.init(jax.random.key(0), BATCH) | {"scale": jnp.asarray([3.0, -1.0])}
    keys = jax.random.split(jax.random.key(1), 400)
    q = jax.jit(jax.vmap(lambda key: encoder.apply(params, BATCH, key=key, train=True)))(keys)
    real = MEAN[:4].astype(np.float64)
    scale = gamma * np.array([3, -1]) / np.sqrt(5)
    expected = scale * (real - real.mean(axis=0)) / np.sqrt(real.var(axis=0) + EPSILON)
    np.testing.assert_allclose(q.mean[0, :4], expected, rtol=1e-4, atol=1e-5)
    # The scales of the units differ, their root mean square is gamma.
    assert np.mean(np.var(q.mean[0, :4], axis=0)) == pytest.approx(gamma**2, rel=1e-3)

    variance = np.exp(np.asarray(q.log_var, np.float64))
    dropped = np.isclose(variance, 1 / (2 * np.pi * np.e), rtol=1e-4)
    error = np.sqrt(rate * (1 - rate) / dropped.size)
    assert abs(dropped.mean() - rate) < 3.5 * error
    whole = np.broadcast_to(FLOOR + np.exp(LOG_VAR) / (1 - rate), variance.shape)
    np.testing.assert_allclose(variance[~dropped], whole[~dropped], rtol=1e-4)
    assert not np.array_equal(dropped[:, 0], dropped[:, 1])  # each sentence draws its own

    # Evaluation: nothing dropped, the running moments.
    q = encoder.apply(params, BATCH, key=None, train=False)
    np.testing.assert_allclose(np.exp(q.log_var), FLOOR + np.exp(LOG_VAR), rtol=1e-5)
    np.testing.assert_allclose(q.mean, scale * MEAN / np.sqrt(1 + EPSILON), rtol=1e-4)
    after = encoder.measure(params, BATCH, key=None)
    running = after["normalised"]["running"]
    np.testing.assert_allclose(running["mean"], real.mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(after["scale"], params["scale"])


def test_a_step_without_measured_parameters_is_left_alone():
    def step(state, key, corpus, plan, row, scheduled):
        raise AssertionError

    assert with_measured(step, PLAIN, (3,), lambda rows: rows) is step


@pytest.mark.parametrize("rate", [1e-4, 0.1, 0.25, 2.0])
def test_every_dimension_of_every_sentence_pays_the_committed_rate(rate):
    low, high = variance_bounds(rate)
    argument = -np.exp(-(1 + 2 * rate))
    roots = -lambertw(argument, 0).real, -lambertw(argument, -1).real
    np.testing.assert_allclose((low, high), roots, rtol=1e-6)
    encoder = committed_rate(PLAIN, rate=rate)
    corners = np.array([[m, s] for m in (-50, -1, 0, 1) for s in (-200, -8, 0, 1, 8, 200)])
    table = {"mean": jnp.asarray(corners[:, :1]), "log_var": jnp.asarray(corners[:, 1:])}
    table = jax.tree.map(lambda a: a.astype(jnp.float32), table)
    batch = BATCH.replace(index=jnp.arange(len(corners)))
    q = encoder.apply(table, batch, key=None, train=True)
    kl = np.asarray(kl_of(q, DiagonalGaussian(jnp.zeros((1, 1)), jnp.zeros((1, 1)))))
    assert kl.min() >= rate - 1e-6
    # Where the mean adds nothing the rate is met exactly.
    np.testing.assert_allclose(kl[corners[:, 0] <= 0], rate, atol=2e-6)
    assert np.all(kl[corners[:, 0] == 1] > rate + 0.4)
    std = np.sqrt(low) + (np.sqrt(high) - np.sqrt(low)) / (1 + np.exp(-corners[:, 1:]))
    np.testing.assert_allclose(np.exp(q.log_var / 2), std, rtol=1e-5)

    def total(table):
        q = encoder.apply(table, batch, key=None, train=True)
        return jnp.sum(q.mean + q.log_var)

    for leaf in jax.tree.leaves(jax.grad(total)(table)):
        assert np.all(np.isfinite(leaf)) and np.any(leaf != 0)
