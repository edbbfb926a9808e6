"""Posterior maps: their equations, the bounds that they promise, and the running moments."""

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import lambertw

import jvae
from jvae.distributions import DiagonalGaussian, closed_form_kl
from jvae.objectives import bound_objective
from jvae.random import Stream, stream
from jvae.remedies import (
    NOISES,
    batch_norm,
    committed_rate,
    diversity,
    iwae,
    negative_iwae,
    stick_the_landing,
    with_denoising,
)
from jvae.remedies.batch_norm import EPSILON, MOMENTUM
from jvae.remedies.committed_rate import variance_bounds
from jvae.remedies.diversity import FLOOR
from tests.conftest import LATENT, make_batch
from tests.training.setting import KEY as TRAINING_KEY
from tests.training.setting import NUM, WIDTH, Problem, assert_close, make_initialised, make_problem

STANDARD = DiagonalGaussian(jnp.zeros((1, 2)), jnp.zeros((1, 2)))


def apply(params, batch, context, *, key, train):
    """Posteriors read from a table by the sentence's number."""
    return DiagonalGaussian(params["mean"][batch.index], params["log_var"][batch.index])


RNG = np.random.default_rng(0)
MEAN = np.asarray(3 * RNG.normal(size=(6, 2)) + [5, -2], np.float32)
LOG_VAR = np.asarray(RNG.normal(size=(6, 2)), np.float32)
TABLE = {"mean": jnp.asarray(MEAN), "log_var": jnp.asarray(LOG_VAR)}
PLAIN = jvae.Encoder(lambda *_: TABLE, apply)
BATCH = make_batch(6, 4).replace(weight=jnp.asarray([1.0, 1, 1, 1, 0, 0]))
KEY = jax.random.key(0)


def inferred(
    encoder: jvae.Encoder, params, *, train: bool, batch=BATCH, key=None
) -> jvae.Inference:
    return encoder.apply(params, batch, None, key=key, train=train)


def with_own(params, name: str, **values) -> Any:
    """The same parameters, some of a map's own changed."""
    return params | {name: params[name] | values}


def test_the_maps_parameters_lie_beside_the_encoders_own():
    for encoder, own in (
        (batch_norm(PLAIN, gamma=0.7, latent_size=2), {"batch_norm"}),
        (diversity(PLAIN, gamma=0.7, rate=0.2, latent_size=2), {"batch_norm", "diversity"}),
        (committed_rate(PLAIN, rate=0.1), set()),
    ):
        params = encoder.init(KEY, BATCH, None)
        assert set(params) == {"mean", "log_var"} | own
        assert params["mean"] is TABLE["mean"]
        assert (encoder.after is None) == (not own)


def test_means_are_normalised_over_the_real_rows_and_the_bound_holds():
    gamma = 0.7
    encoder = batch_norm(PLAIN, gamma=gamma, latent_size=2)
    params = with_own(encoder.init(KEY, BATCH, None), "batch_norm", shift=jnp.asarray([0.5, 0.0]))
    q = inferred(encoder, params, train=True).posterior
    real = MEAN[:4].astype(np.float64)
    variance = real.var(axis=0)
    shift = np.array([0.5, 0])
    expected = gamma * (real - real.mean(axis=0)) / np.sqrt(variance + EPSILON) + shift
    np.testing.assert_allclose(q.mean[:4], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(q.log_var, LOG_VAR)
    bound = 0.5 * np.sum(shift**2 + gamma**2 * variance / (variance + EPSILON))
    assert closed_form_kl(q, STANDARD)[:4].sum(axis=1).mean() > bound
    # It is attained where every variance is 1, however close the encoder's own means are.
    for scale in (1.0, 1e-3):
        table = {"mean": scale * TABLE["mean"], "log_var": jnp.zeros((6, 2))}
        q = inferred(encoder, params | table, train=True).posterior
        least = 0.5 * np.sum(shift**2 + gamma**2 / (1 + EPSILON / (scale**2 * variance)))
        kl = closed_form_kl(q, STANDARD)[:4].sum(axis=1).mean()
        np.testing.assert_allclose(kl, least, rtol=1e-3)


def test_evaluation_takes_running_moments_that_have_no_gradient():
    encoder = batch_norm(PLAIN, gamma=0.5, latent_size=2)
    params = encoder.init(KEY, BATCH, None)
    inference = inferred(encoder, params, train=False)  # mean 0, variance 1 so far
    q = inference.posterior
    np.testing.assert_allclose(q.mean, 0.5 * MEAN / np.sqrt(1 + EPSILON), rtol=1e-5)
    assert inference.statistics == {}
    one = jax.tree.map(lambda field: field[:1], BATCH)  # whatever else is in the batch
    alone = inferred(encoder, params, train=False, batch=one).posterior
    np.testing.assert_allclose(alone.mean, q.mean[:1], rtol=1e-6)

    def total(params):
        inference = inferred(encoder, params, train=True)
        counted = inference.statistics["batch_norm"]["moments"]
        return jnp.sum(inference.posterior.mean**3) + sum(map(jnp.sum, counted.values()))

    grads = jax.grad(total)(params)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads["batch_norm"]["running"]))
    assert grads["batch_norm"]["updates"] == 0
    assert np.any(grads["mean"] != 0) and np.any(grads["batch_norm"]["shift"] != 0)

    # What is counted has no gradient: the cubes' alone is there.
    def cubes(params):
        return jnp.sum(inferred(encoder, params, train=True).posterior.mean ** 3)

    assert_close(grads, jax.grad(cubes)(params), rtol=0)


@pytest.mark.parametrize("before", [0, 3, 50])
def test_an_update_moves_the_running_moments_towards_those_of_the_parts(before):
    """A plain average of the first updates, then an exponential one; of parts their mean."""
    encoder = batch_norm(PLAIN, gamma=0.5, latent_size=2)
    params = with_own(encoder.init(KEY, BATCH, None), "batch_norm", updates=jnp.float32(before))
    rate = max(MOMENTUM, 1 / (before + 1))
    real = MEAN[:4].astype(np.float64)
    statistics = inferred(encoder, params, train=True).statistics
    running = encoder.after(params, statistics)["batch_norm"]["running"]
    np.testing.assert_allclose(running["mean"], rate * real.mean(axis=0), rtol=1e-5)
    expected = 1 + rate * (real.var(axis=0) - 1)
    np.testing.assert_allclose(running["var"], expected, rtol=1e-5)

    parts = [slice(0, 2), slice(2, 4)]
    halves = [
        inferred(
            encoder, params, train=True, batch=jax.tree.map(lambda leaf, p=part: leaf[p], BATCH)
        ).statistics
        for part in parts
    ]
    after = encoder.after(params, jax.tree.map(jnp.add, *halves))
    running = after["batch_norm"]["running"]
    np.testing.assert_allclose(running["mean"], rate * real.mean(axis=0), rtol=1e-5)
    mean = np.mean([real[part].var(axis=0) for part in parts], axis=0)
    np.testing.assert_allclose(running["var"], 1 + rate * (mean - 1), rtol=1e-5)
    # Nothing else moves.
    assert after["batch_norm"]["updates"] == before + 1
    np.testing.assert_array_equal(after["batch_norm"]["shift"], params["batch_norm"]["shift"])
    assert after["mean"] is params["mean"] and after["log_var"] is params["log_var"]


def normalised(model: jvae.VAE) -> jvae.VAE:
    return model._replace(encoder=batch_norm(model.encoder, gamma=0.5, latent_size=LATENT))


@lru_cache
def initialise(vocab_size: int, **options) -> tuple[jvae.VAE, Any]:
    model, _ = make_initialised(vocab_size, **options)
    model, batch = normalised(model), make_batch(2, 4)
    return model, jax.jit(lambda key: jvae.init(model, batch, key=key))(TRAINING_KEY)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem(aggressive=False, inner=None, initialise=initialise, learning_rate=0.1)


def moments_of(problem: Problem, state, row: int) -> dict[str, np.ndarray]:
    """Of the real sentences of a row, in the training pass of the state's parameters."""
    index, weight = problem.host_plan.index[row], problem.host_plan.weight[row]
    index = index[weight > 0]
    width = problem.widths[problem.host_plan.bucket[row]]
    x = jax.tree.map(lambda leaf: leaf[index], problem.data.x.resized(width))
    batch = jvae.Batch(x, None, jnp.asarray(index), jnp.ones(len(index)))
    key = stream(TRAINING_KEY, Stream.TRAINING, state.step)
    plain, _ = make_initialised(12)
    inner = {k: v for k, v in state.params["encoder"].items() if k != "batch_norm"}
    apply = jax.jit(partial(plain.encoder.apply, train=True))
    mean = np.asarray(apply(inner, batch, None, key=stream(key, Stream.ENCODER)).mean, np.float64)
    return {"mean": mean.mean(axis=0), "var": mean.var(axis=0)}


def test_a_step_counts_its_own_training_pass(problem):
    """Two updates, the second of them of a row with padding; the moments are learnt by neither."""
    assert NUM % 4 and WIDTH > 4
    filled = int(np.argmax(np.any(problem.host_plan.weight == 0, axis=1)))
    plain = int(np.argmin(np.any(problem.host_plan.weight == 0, axis=1)))
    state, running = problem.state, {"mean": np.zeros(LATENT), "var": np.ones(LATENT)}
    for number, row in enumerate((plain, filled), 1):
        now = moments_of(problem, state, row)
        running = {name: old + (now[name] - old) / number for name, old in running.items()}
        state = problem.run(state, [row])
        own = state.params["encoder"]["batch_norm"]
        assert own["updates"] == number
        assert_close(own["running"], running, rtol=1e-3, atol=1e-6)
    assert np.any(own["shift"] != 0)


def test_a_step_that_meets_a_fault_leaves_the_moments_as_they_were(problem):
    broken = problem.state.params["decoder"] | {
        "output_kernel": problem.state.params["decoder"]["output_kernel"] * jnp.nan
    }
    state = problem.state._replace(params=problem.state.params | {"decoder": broken})
    after = problem.run(state, [0])
    assert after.fault.term != 0
    own = "batch_norm"
    before = problem.state.params["encoder"][own]
    assert_close(after.params["encoder"][own], before, rtol=0)
    # Without the fault it moves.
    good = problem.run(problem.state, [0])
    assert np.all(good.params["encoder"][own]["running"]["mean"] != 0)


def test_other_bounds_count_too():
    """IWAE's terms carry the encoder's sums as the ELBO's do."""
    model, params = initialise(12)
    batch = make_batch(4, 6)
    scheduled = {"kl_weight": 1.0}
    sums = []
    for objective in (
        bound_objective(model, jvae.negative_elbo),
        bound_objective(model, negative_iwae, terms_of=iwae, num_samples=2),
    ):
        outcome = jax.jit(partial(objective.apply, scheduled=scheduled))(params, {}, batch, key=KEY)
        sums.append(outcome.statistics)
        new, _ = objective.after(params, {}, outcome.statistics)
        assert new["encoder"]["batch_norm"]["updates"] == 1
    assert_close(sums[1], sums[0], rtol=1e-6)


def test_diversity_shares_gamma_among_the_means_and_drops_variances():
    gamma, rate, size = 0.5, 0.25, 2
    encoder = diversity(PLAIN, gamma=gamma, rate=rate, latent_size=size)
    params = with_own(encoder.init(KEY, BATCH, None), "diversity", scale=jnp.asarray([3.0, -1.0]))
    keys = jax.random.split(jax.random.key(1), 400)
    train = partial(inferred, encoder, params, train=True)
    q = jax.jit(jax.vmap(lambda key: train(key=key).posterior))(keys)
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
    q = inferred(encoder, params, train=False).posterior
    np.testing.assert_allclose(np.exp(q.log_var), FLOOR + np.exp(LOG_VAR), rtol=1e-5)
    np.testing.assert_allclose(q.mean, scale * MEAN / np.sqrt(1 + EPSILON), rtol=1e-4)
    after = encoder.after(params, train(key=KEY).statistics)
    running = after["batch_norm"]["running"]
    np.testing.assert_allclose(running["mean"], real.mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(after["diversity"]["scale"], params["diversity"]["scale"])


MAPS = {
    "batch_norm": partial(batch_norm, gamma=0.5, latent_size=2),
    "diversity": partial(diversity, gamma=0.5, rate=0.2, latent_size=2),
    "committed_rate": partial(committed_rate, rate=0.1),
    "stick_the_landing": stick_the_landing,
    "denoising": partial(with_denoising, noise=NOISES["mask"]),
}


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", MAPS)
def test_what_an_encoder_tells_beside_its_posterior_passes_through(name, train):
    rows = jnp.arange(6.0)

    def telling(params, batch, context, *, key, train):
        q = apply(params, batch, context, key=key, train=train)
        return jvae.Inference(q, {"layers": rows}, {"vectors": 2 * rows}, {"seen": jnp.sum(rows)})

    encoder = MAPS[name](PLAIN._replace(apply=telling))
    inference = inferred(encoder, encoder.init(KEY, BATCH, None), train=train, key=KEY)
    np.testing.assert_array_equal(inference.terms["layers"], rows)
    np.testing.assert_array_equal(inference.metrics["vectors"], 2 * rows)
    assert inference.statistics["seen"] == 15


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
    q = encoder.apply(table, batch, None, key=None, train=True).posterior
    kl = np.asarray(closed_form_kl(q, DiagonalGaussian(jnp.zeros((1, 1)), jnp.zeros((1, 1)))))
    assert kl.min() >= rate - 1e-6
    # Where the mean adds nothing the rate is met exactly.
    np.testing.assert_allclose(kl[corners[:, 0] <= 0], rate, atol=2e-6)
    assert np.all(kl[corners[:, 0] == 1] > rate + 0.4)
    std = np.sqrt(low) + (np.sqrt(high) - np.sqrt(low)) / (1 + np.exp(-corners[:, 1:]))
    np.testing.assert_allclose(np.exp(q.log_var / 2), std, rtol=1e-5)

    def total(table):
        q = encoder.apply(table, batch, None, key=None, train=True).posterior
        return jnp.sum(q.mean + q.log_var)

    for leaf in jax.tree.leaves(jax.grad(total)(table)):
        assert np.all(np.isfinite(leaf)) and np.any(leaf != 0)
