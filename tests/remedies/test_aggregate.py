"""Terms of the aggregate posterior: against NumPy and closed forms, and with filling rows."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

import jvae
from jvae.distributions import DiagonalGaussian
from jvae.evaluation import diagnostics
from jvae.posteriors.full import FullGaussian
from jvae.remedies import KERNELS, aggregate_loss, with_mmd, with_mutual_information
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
        init=lambda key, batch: {},
        apply=lambda params, batch, *, key, train: DiagonalGaussian(
            params["mean"][batch.index], jnp.full((batch.rows, L), -1.0)
        ),
    ),
    jvae.Decoder(
        init=lambda key, z, batch: {},
        log_prob=lambda params, z, batch, *, key, train: -jnp.sum(jnp.square(z), axis=-1),
        start=lambda params, z, max_length: z,
        step=lambda params, carry, token: (carry, carry),
    ),
    jvae.standard_normal(latent_size=L),
    L,
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


TERMS = {
    "mmd": with_mmd(jvae.elbo, "imq"),
    "mutual_information": with_mutual_information(jvae.elbo),
}


@pytest.mark.parametrize("name", TERMS)
def test_filling_rows_and_order_change_neither_term_nor_gradient(name):
    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def mean(params, batch):
        how = {"key": KEY, "num_samples": 2, "train": True}
        terms, plain = (of(MODEL, params, batch, **how) for of in (TERMS[name], jvae.elbo))
        values = terms.auxiliary[name] * batch.weight
        return jnp.sum(values) / jnp.sum(batch.weight), (terms.elbo, plain.elbo)

    filled = jax.tree.map(lambda leaf: jnp.concatenate([leaf[::-1], leaf[:3]]), BATCH)
    filled = filled.replace(
        index=jnp.asarray([4, 3, 2, 1, 0, 7, 7, 6]), weight=jnp.asarray([1.0] * 5 + [0] * 3)
    )
    (alone, bounds), grads = mean(PARAMS, BATCH)
    (again, _), same = mean(PARAMS, filled)
    np.testing.assert_allclose(again, alone, rtol=1e-5)
    np.testing.assert_allclose(same["encoder"]["mean"], grads["encoder"]["mean"], atol=1e-6)
    assert np.any(grads["encoder"]["mean"][:5] != 0)
    assert not np.any(grads["encoder"]["mean"][5:])
    np.testing.assert_array_equal(*bounds)  # the bound itself is left alone


def test_the_loss_adds_the_weighted_terms():
    auxiliary = {"mmd": jnp.asarray([2.0, 2.0]), "mutual_information": jnp.asarray([1.0, 3.0])}
    terms = jvae.ELBOTerms(-jnp.ones(2), {"latent": jnp.zeros((2, 1))}, auxiliary=auxiliary)
    total = aggregate_loss(
        lambda terms, *rest: -terms.elbo + sum(rest), {"mmd": 10.0, "mutual_information": -0.5}
    )
    np.testing.assert_allclose(total(terms, 3, 4), [8 + 20 - 0.5, 8 + 20 - 1.5])


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
        loss = aggregate_loss(jvae.negative_elbo, {"mutual_information": -weight})

        def total(mean, key):
            params = PARAMS | {"encoder": {"mean": mean}}
            terms = TERMS["mutual_information"](MODEL, params, batch, key=key, train=True)
            return jnp.sum(loss(terms, {"kl_weight": 1.0}, batch.weight))

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
