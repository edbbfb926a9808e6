"""Terms of the aggregate posterior: against NumPy and closed forms, and with padding rows."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import jvae
from jvae.distributions import DiagonalGaussian
from jvae.evaluation import diagnostics
from jvae.objectives import bound_objective
from jvae.posteriors.full import FullGaussian
from jvae.remedies import KERNELS, with_mmd, with_mutual_information
from jvae.remedies.aggregate import mmd, mutual_information, prior_draws
from tests.conftest import make_batch

KEY = jax.random.key(4)
RNG = np.random.default_rng(2)
L = 3
BY_HAND = {
    "rbf": lambda x, y: np.exp(-np.sum((x - y) ** 2) / L**2),
    "imq": lambda x, y: 2 * L / (2 * L + np.sum((x - y) ** 2)),
}

# Posteriors read from a table by the sentence's number, and a decoder without words.
MODEL = jvae.VAE(
    jvae.Encoder(
        lambda *_: {},
        lambda params, batch, context, *, key, train: DiagonalGaussian(
            params["mean"][batch.index], jnp.full((batch.rows, L), -1.0)
        ),
    ),
    jvae.Decoder(
        lambda *_: {},
        lambda params, z, batch, context, *, key, train: -jnp.sum(jnp.square(z), axis=-1),
    ),
    jvae.standard_normal(latent_size=L),
)
PARAMS = {
    "encoder": {"mean": jnp.asarray(RNG.normal(size=(8, L)), jnp.float32)},
    "decoder": {},
    "prior": {},
}
BATCH = make_batch(5, 4)


@pytest.mark.parametrize("name", KERNELS)
def test_mmd_is_the_sum_over_pairs_of_real_rows(name):
    z, y = RNG.normal(size=(2, 6, L)) * [[[2.0]], [[1.0]]]
    rows, kernel = [0, 1, 3, 4], BY_HAND[name]
    within = [np.mean([kernel(x[i], x[j]) for i in rows for j in rows if i != j]) for x in (z, y)]
    between = np.mean([kernel(z[i], y[j]) for i in rows for j in rows])
    weight = jnp.asarray([1.0, 1, 0, 1, 1, 0])
    found = mmd(jnp.float32(z), jnp.float32(y), weight, KERNELS[name])
    np.testing.assert_allclose(found, sum(within) - 2 * between, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", KERNELS)
def test_mmd_has_mean_zero_for_equal_distributions_and_not_for_others(name):
    draws = jax.random.normal(KEY, (2000, 2, 8, L))
    estimate = jax.vmap(lambda pair: mmd(pair[0], pair[1], jnp.ones(8), KERNELS[name]))

    def mean_and_error(pairs):
        values = np.asarray(estimate(pairs), np.float64)
        return values.mean(), values.std(ddof=1) / np.sqrt(len(values))

    mean, error = mean_and_error(draws)
    assert abs(mean) < 3.5 * error and error < 0.003
    mean, error = mean_and_error(draws.at[:, 0].mul(0.3))
    assert mean > 10 * error
    if name == "rbf":  # E exp(-|d|^2 / L^2), d ~ N(0, v I), is (1 + 2 v / L^2)^(-L / 2)
        expected = [(1 + 2 * v / L**2) ** (-L / 2) for v in (0.18, 2.0, 1.09)]
        np.testing.assert_allclose(
            mean, expected[0] + expected[1] - 2 * expected[2], atol=3.5 * error
        )


def test_mutual_information_is_evaluations_and_takes_any_density():
    mean, log_var = RNG.normal(size=(2, 6, L))
    q = DiagonalGaussian(jnp.float32(mean), jnp.float32(log_var))
    z = np.asarray(q.sample(jax.random.split(KEY, 6)))
    found = mutual_information(q, z, jnp.ones(6))
    # Evaluation has the entropy in closed form where this has the draw's own density.
    negative_entropy = -0.5 * np.sum(np.log(2 * np.pi) + 1 + log_var, axis=1)
    expected = diagnostics.mutual_information(z, mean, log_var) - negative_entropy
    np.testing.assert_allclose(found, expected + q.log_prob(z), atol=1e-4)
    assert np.all(found <= np.log(6) + 1e-5)
    factor = jnp.exp(0.5 * q.log_var)[..., None] * jnp.eye(L)
    full = mutual_information(FullGaussian(q.mean, factor), z, jnp.ones(6))
    np.testing.assert_allclose(full, found, atol=1e-4)


def test_mutual_information_of_a_linear_gaussian_aggregate():
    """x ~ N(0, 1), z given x ~ N(a x, s^2): `I = log(1 + a^2 / s^2) / 2`, here 0.80 nats."""
    a, s, number = 2.0, 1.0, 1500
    x = RNG.normal(size=number)
    z = a * x + s * RNG.normal(size=number)
    q = DiagonalGaussian(jnp.float32(a * x[:, None]), jnp.zeros((number, 1)))
    found = np.asarray(mutual_information(q, jnp.float32(z[:, None]), jnp.ones(number)))
    error = found.std() / np.sqrt(number)
    assert error < 0.03
    np.testing.assert_allclose(found.mean(), 0.5 * np.log(1 + a**2 / s**2), atol=3.5 * error)
    # Sentence by sentence, the log ratio of the two densities.
    aggregate = multivariate_normal(0, a**2 + s**2)
    exact = multivariate_normal(0, s**2).logpdf(z - a * x) - aggregate.logpdf(z)
    inner = np.abs(z) < 4  # in the tails few of the aggregate's components are near
    np.testing.assert_allclose(found[inner], exact[inner], atol=0.5)


PLAIN = bound_objective(MODEL, jvae.negative_elbo, num_samples=2)
OBJECTIVES = {
    "mmd": with_mmd(PLAIN, MODEL, 10.0, "imq"),
    "mutual_information": with_mutual_information(PLAIN, 0.5),
}


def apply(objective: jvae.Objective, params, batch) -> jvae.Outcome:
    return objective.apply(params, {}, batch, key=KEY, scheduled={"kl_weight": 0.25})


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_weighted_term_is_added_and_nothing_else_changes(name):
    """Against NumPy, of the samples that the terms have; the bound itself is left alone."""
    found, plain = (jax.jit(partial(apply, of))(PARAMS, BATCH) for of in (OBJECTIVES[name], PLAIN))
    z = np.asarray(plain.terms.z, np.float64)
    assert z.shape == (2, 5, L)
    if name == "mmd":
        draws = np.asarray(prior_draws(MODEL, PARAMS, BATCH, KEY), np.float64)
        kernel, each = BY_HAND["imq"], []
        for one in z:
            within = [
                np.mean([kernel(x[i], x[j]) for i in range(5) for j in range(5) if i != j])
                for x in (one, draws)
            ]
            between = np.mean([kernel(a, b) for a in one for b in draws])
            each.append(sum(within) - 2 * between)
        expected = np.full(5, 10 * np.mean(each))
    else:
        mean = np.asarray(PARAMS["encoder"]["mean"][:5], np.float64)
        density = stats.norm(mean, np.exp(-0.5))
        log_q = density.logpdf(z[:, :, None]).sum(axis=-1)  # [S, draw, component]
        own = np.diagonal(log_q, axis1=1, axis2=2)
        expected = -0.5 * np.mean(own - logsumexp(log_q, axis=2) + np.log(5), axis=0)
    np.testing.assert_allclose(found.losses - plain.losses, expected, rtol=1e-3, atol=1e-5)
    assert np.all(np.abs(expected) > 1e-3)
    np.testing.assert_array_equal(found.terms.elbo, plain.terms.elbo)
    for field in ("metrics", "statistics"):
        jax.tree.map(np.testing.assert_array_equal, getattr(found, field), getattr(plain, field))
    # Neither has parameters of its own.
    assert OBJECTIVES[name].init(KEY, PARAMS) == ({}, {})
    assert OBJECTIVES[name].optimisers == {}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_padding_rows_and_order_change_neither_term_nor_gradient(name):
    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def mean(params, batch):
        outcome, plain = (apply(of, params, batch) for of in (OBJECTIVES[name], PLAIN))
        values = (outcome.losses - plain.losses) * batch.weight
        bounds = outcome.terms.elbo, plain.terms.elbo
        return jnp.sum(values) / jnp.sum(batch.weight), bounds

    filled = jax.tree.map(lambda leaf: jnp.concatenate([leaf[::-1], leaf[:3]]), BATCH)
    filled = filled.replace(
        index=jnp.asarray([4, 3, 2, 1, 0, 7, 7, 6]), weight=jnp.asarray([1.0] * 5 + [0] * 3)
    )
    (alone, bounds), grads = mean(PARAMS, BATCH)
    (again, _), same = mean(PARAMS, filled)
    np.testing.assert_allclose(again, alone, rtol=1e-4)
    np.testing.assert_allclose(same["encoder"]["mean"], grads["encoder"]["mean"], atol=2e-5)
    assert np.any(grads["encoder"]["mean"][:5] != 0)
    assert not np.any(grads["encoder"]["mean"][5:])
    np.testing.assert_array_equal(*bounds)  # the bound itself is left alone


def test_the_losses_of_both_terms_add_up():
    both = with_mutual_information(OBJECTIVES["mmd"], 0.5)
    losses = {
        name: np.asarray(jax.jit(partial(apply, of))(PARAMS, BATCH).losses)
        for name, of in (OBJECTIVES | {"plain": PLAIN, "both": both}).items()
    }
    parts = losses["mmd"] + losses["mutual_information"] - losses["plain"]
    np.testing.assert_allclose(losses["both"], parts, rtol=1e-5)


def test_a_prior_that_learns_is_drawn_to_the_posteriors_by_the_mmd():
    """Its draws are differentiable; the adversary's are not (`test_adversarial.py`)."""

    def prior(params, context):
        return DiagonalGaussian(params["prior"][None], jnp.zeros((1, L)))

    model = MODEL._replace(prior=jvae.Prior(lambda key: jnp.zeros(L), prior))
    objective = with_mmd(bound_objective(model, lambda *_: jnp.zeros(5)), model, 1.0)

    def total(centre):
        mean = PARAMS["encoder"]["mean"] + 2.0
        params = PARAMS | {"prior": centre, "encoder": {"mean": mean}}
        return jnp.sum(apply(objective, params, BATCH).losses)

    pull = jax.jit(jax.grad(total))(jnp.zeros(L))
    assert np.all(pull < 0)  # towards the posteriors


def test_draws_of_the_prior_belong_to_the_sentence_and_to_no_other_noise():
    draws = prior_draws(MODEL, PARAMS, BATCH, KEY)
    some = jax.tree.map(lambda leaf: leaf[2:4], BATCH)
    np.testing.assert_array_equal(prior_draws(MODEL, PARAMS, some, KEY), draws[2:4])
    z = jax.jit(lambda params: jvae.elbo(MODEL, params, BATCH, key=KEY).z[0])(PARAMS)
    noise = (z - PARAMS["encoder"]["mean"][:5]) / np.exp(-0.5)
    assert np.all(np.abs(draws - noise) > 1e-3)


def test_descending_mmd_moves_the_aggregate_to_the_prior():
    mean = jnp.asarray(0.2 * RNG.normal(size=(32, 1)) + 2, jnp.float32)

    @jax.jit
    def train(mean):
        def turn(mean, key):
            draws = jax.random.normal(key, mean.shape)
            of = partial(mmd, other=draws, weight=jnp.ones(32), kernel=KERNELS["imq"])
            return mean - 5.0 * jax.grad(of)(mean), None

        return jax.lax.scan(turn, mean, jax.random.split(KEY, 400))[0]

    after = np.asarray(train(mean))
    assert abs(after.mean()) < 0.3 and 0.7 < after.std() < 1.3, (after.mean(), after.std())


def test_the_term_raises_the_mutual_information_that_evaluation_measures():
    """The decoder gains nothing by z: the bound alone leaves z empty, the term fills it."""
    batch, start = make_batch(8, 4), 0.3 * PARAMS["encoder"]["mean"]

    def after(weight: float) -> diagnostics.MutualInformation:
        plain = bound_objective(MODEL, jvae.negative_elbo)
        objective = with_mutual_information(plain, weight)

        def total(mean, key):
            params = PARAMS | {"encoder": {"mean": mean}}
            scheduled = {"kl_weight": 1.0}
            return jnp.sum(objective.apply(params, {}, batch, key=key, scheduled=scheduled).losses)

        @jax.jit
        def train(mean):
            def turn(mean, key):
                return mean - 0.02 * jax.grad(total)(mean, key), None

            return jax.lax.scan(turn, mean, jax.random.split(KEY, 300))[0]

        mean = np.tile(train(start), (500, 1))
        log_var = np.full_like(mean, -1)
        z = mean + np.exp(-0.5) * np.random.default_rng(5).normal(size=mean.shape)
        return diagnostics.mi_batch(z, mean, log_var, batch_size=8)

    without, with_term = after(0.0), after(20.0)
    assert without.value < 0.1 and without.ceiling == pytest.approx(np.log(8))
    assert with_term.value > 1.7 and with_term.standard_error < 0.05
