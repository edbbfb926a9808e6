"""NVIB posteriors against SciPy, draws against their moments, and the head that makes them."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import jvae
from jvae.distributions import surrogate_kl
from jvae.posteriors import nvib
from jvae.posteriors.nvib import NVIB, gaussian_kl
from jvae.priors.dirichlet_process import DirichletProcess, dirichlet_kl
from jvae.random import example_keys

RNG = np.random.default_rng(0)
# Posteriors with the prior's row first: ordinary ones, and from EXTREME on extreme ones.
ALPHA = np.array(
    [
        [1, 0.1, 0.3, 0.6, 2, 5],
        [1, 0.5, 0, 3, 0, 0],
        [1, 0.01, 0.1, 0.3, 3, 5],
        [1, 0, 0, 0, 0, 0],
        [1, 1e-30, 1e-30, 1e-30, 1e-30, 1e-30],
        [1, 1e30, 1e30, 1e30, 1e30, 1e30],
        [1, 1e-30, 1e-3, 0, 1e5, 1e30],
    ]
)
EXTREME = 3
PRESENT = ALPHA > 0
(B, N), P, KAPPA = ALPHA.shape, 2, 2
with np.errstate(divide="ignore"):
    LOG_ALPHA = jnp.asarray(np.log(ALPHA), jnp.float32)
MEANS, LOG_VARS = RNG.normal(size=(2, B, N, P))
LOG_VARS[EXTREME:] = np.array([0, -200, -80, 0, 40, 80])[:, None]
MEANS, LOG_VARS = jnp.asarray(MEANS, jnp.float32), jnp.asarray(LOG_VARS, jnp.float32)
Q = NVIB(MEANS, LOG_VARS, LOG_ALPHA, jnp.asarray([6, 5, 6, 6, 6, 6, 6.0]), KAPPA)
COST = jnp.asarray([0.3, -1.0, 2.0, 0.5, -0.7, 1.0])


def process(**options) -> DirichletProcess:
    defaults = {"delta": 0.25, "prior_alpha": 1.0, "kappa": KAPPA} | options
    return DirichletProcess(jnp.linspace(0, 1, N), P, **defaults)


KL_D = jax.jit(dirichlet_kl)


def components(leaf):
    """Of a set's rows, `[..., KAPPA, N, ..]`."""
    return np.asarray(leaf, np.float64).reshape(NUMBER, B, KAPPA, N, *leaf.shape[3:])


NUMBER = 2000


@pytest.fixture(scope="module")
def draws():
    """Sets of each posterior, `[NUMBER, B, ..]`, and of each draw the gradient of some cost."""

    @jax.jit
    def run(keys):
        def cost(q, keys):
            z = q.sample(keys)
            pi = jnp.sum(jnp.exp(z.log_weights).reshape(B, KAPPA, N), axis=1)
            return jnp.sum(pi @ COST) + jnp.sum(jnp.tanh(z.vectors)), z

        grads, z = jax.vmap(jax.grad(cost, has_aux=True), (None, 0))(Q, keys)
        return z, grads

    return run(jax.random.split(jax.random.key(1), (NUMBER, B)))


@pytest.fixture(scope="module")
def results():
    """Densities, KL terms and the mixture of posteriors and sets, and gradients of their sum."""

    @jax.jit
    def run(q, z):
        def total(q):
            terms = surrogate_kl(q, process())
            mixture = q.mean.pooled, jnp.sum(jnp.exp(q.mean.log_weights) * COST, axis=-1)
            values = q.log_prob(z), process().log_prob(z), terms, mixture
            return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(values)), values

        (_, values), grads = jax.value_and_grad(total, has_aux=True)(q)
        return values, grads

    return run


def test_weights_have_the_moments_of_the_dirichlet_over_components(draws):
    """`E[pi] = alpha / a`, `Var[pi] = m (1 - m) / (a + 1)`, of each component's copies together."""
    z, _ = draws
    pi = components(z.log_weights)
    assert np.all((pi == -np.inf) == ~PRESENT[None, :, None])
    pi = np.exp(pi)
    np.testing.assert_allclose(pi.sum(axis=(2, 3)), 1, rtol=1e-5)
    rho = pi.sum(axis=2)
    np.testing.assert_allclose(rho[:, 3:5, 0], 1, rtol=1e-5)  # the prior's component alone
    np.testing.assert_allclose(rho[:, 5, 1:], 0.2, rtol=1e-4)
    np.testing.assert_allclose(rho[:, 6, 5], 1, rtol=1e-5)
    ordinary, rho = ALPHA[:EXTREME], rho[:, :EXTREME]
    total = ordinary.sum(axis=1, keepdims=True)
    mean = ordinary / total
    variance = mean * (1 - mean) / (total + 1)
    assert np.all(np.abs(rho.mean(axis=0) - mean) <= 4 * np.sqrt(variance / NUMBER))
    spread = np.square(rho - mean)
    assert np.all(np.abs(spread.mean(axis=0) - variance) <= 4 * spread.std(axis=0) / NUMBER**0.5)
    # A copy's share of its component is Beta(alpha / kappa, ..), independent of the sum.
    share = pi[:, 0, 0, 5] / rho[:, 0, 5]
    exact = stats.beta(5 / KAPPA, 5 - 5 / KAPPA)
    assert stats.kstest(share, exact.cdf).statistic < 1.95 / np.sqrt(NUMBER)
    assert abs(np.corrcoef(share, rho[:, 0, 5])[0, 1]) < 4 / np.sqrt(NUMBER)


def test_vectors_are_normal_and_independent(draws):
    vectors = components(draws[0].vectors)[:, 0]  # [NUMBER, KAPPA, N, P]
    flat = ((vectors - MEANS[0]) / np.exp(LOG_VARS[0] / 2)).reshape(NUMBER, -1)
    assert np.all(np.abs(flat.mean(axis=0)) < 4 / np.sqrt(NUMBER))
    assert np.abs(np.cov(flat.T) - np.eye(flat.shape[1])).max() < 4.5 * np.sqrt(2 / NUMBER)


def test_gradients_of_draws_average_to_that_of_the_mean_weights(draws):
    """That is central differences of `sum_i c_i alpha_i / a`, in float64."""
    cost = np.asarray(COST, np.float64)
    exact = np.zeros((EXTREME, N))
    for j in range(N):
        ends = []
        for sign in (1, -1):
            alpha = ALPHA[:EXTREME].copy()
            alpha[:, j] *= np.exp(sign * 1e-4)
            ends.append(alpha @ cost / alpha.sum(axis=1))
        exact[:, j] = (ends[0] - ends[1]) / 2e-4
    slopes = np.asarray(draws[1].log_alpha, np.float64)[:, :EXTREME]
    error = slopes.std(axis=0) / np.sqrt(NUMBER)
    assert np.all(np.abs(slopes.mean(axis=0) - exact) <= 4 * error + 1e-7)


def test_gradients_are_finite_and_nothing_reaches_what_is_absent(draws, results):
    z, grads = draws
    _, of_results = results(Q, jax.tree.map(lambda leaf: leaf[0], z))
    for tree in (grads, of_results):
        for leaf in (tree.means, tree.log_vars, tree.log_alpha):
            assert np.all(np.isfinite(leaf))
    for tree in (jax.tree.map(lambda leaf: leaf[0], grads), of_results):
        for leaf in (tree.means, tree.log_vars, tree.log_alpha):
            assert np.all(np.asarray(leaf)[~PRESENT] == 0)
            assert np.all(np.asarray(leaf)[:EXTREME][PRESENT[:EXTREME]] != 0)


def test_densities_are_those_of_scipy_and_finite_at_extremes(draws, results):
    z = jax.tree.map(lambda leaf: leaf[1], draws[0])
    values, _ = results(Q, z)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(values))
    for b in range(EXTREME):
        rows = np.tile(PRESENT[b], KAPPA)
        log_pi = np.asarray(z.log_weights, np.float64)[b, rows]
        means, log_vars = (np.tile(leaf[b], (KAPPA, 1))[rows] for leaf in (MEANS, LOG_VARS))
        vectors = np.asarray(z.vectors)[b, rows]
        n = PRESENT[b].sum() - 1
        logits = np.linspace(0, 1, N)
        both = {
            0: np.tile(ALPHA[b], KAPPA)[rows] / KAPPA,
            1: np.full(rows.sum(), (1 + 0.25 * n) / rows.sum()),
        }
        added = {
            0: stats.norm(means, np.exp(log_vars / 2)).logpdf(vectors).sum(),
            1: stats.norm.logpdf(vectors).sum() + logits[n] - np.log(np.exp(logits).sum()),
        }
        for which, alpha in both.items():
            # SciPy's own, which takes pi; (alpha - 1) log pi where that underflows.
            constant = stats.dirichlet(alpha).logpdf(np.full(len(alpha), 1 / len(alpha)))
            constant += np.sum((alpha - 1) * np.log(len(alpha)))
            expected = constant + np.sum((alpha - 1) * log_pi) + added[which]
            np.testing.assert_allclose(values[which][b], expected, rtol=3e-5)


def test_kl_terms_are_as_defined_and_zero_at_the_prior(draws, results):
    (_, _, terms, _), _ = results(Q, jax.tree.map(lambda leaf: leaf[0], draws[0]))
    variance = np.exp(np.asarray(LOG_VARS, np.float64))
    rows = 0.5 * (variance + np.square(MEANS) - 1 - np.asarray(LOG_VARS)).sum(axis=-1)
    weights = ALPHA / ALPHA.sum(axis=1, keepdims=True)
    expected = KAPPA * np.asarray(Q.rows) * (weights * rows).sum(axis=1)
    np.testing.assert_allclose(terms["gaussian"], expected, rtol=1e-5)
    assert all(np.all(np.asarray(terms[name]) >= 0) for name in ("gaussian", "dirichlet"))
    known = 5  # beyond, float64 has not the digits: see test_dirichlet.py
    a, rows = ALPHA[:known].sum(axis=1), np.asarray(Q.rows, np.float64)[:known]
    b, k = 1 + 0.25 * (rows - 1), KAPPA * rows
    expected = special.gammaln(a) - special.gammaln(b)
    expected += k * (special.gammaln(b / k) - special.gammaln(a / k))
    expected += (a - b) * (special.digamma(a / k) - special.digamma(a))
    np.testing.assert_allclose(terms["dirichlet"][:known], expected, rtol=2e-5, atol=2e-5)
    logits = np.linspace(0, 1, N)
    kept = logits[PRESENT.sum(axis=1) - 1] - np.log(np.exp(logits).sum())
    np.testing.assert_allclose(terms["length"], -kept, rtol=1e-5)
    once = dataclasses.replace(Q, kappa=1)
    np.testing.assert_allclose(gaussian_kl(Q), KAPPA * gaussian_kl(once), rtol=1e-6)
    # At the prior; whatever the weights, if their total is prior_alpha + delta (n - 1).
    zero = jnp.zeros_like(MEANS)
    np.testing.assert_array_equal(gaussian_kl(dataclasses.replace(Q, means=zero, log_vars=zero)), 0)
    np.testing.assert_allclose(KL_D(Q, jnp.log(1.5 * Q.rows))[0], 0, atol=1e-6)
    # Without delta it does not ask how long the sentence is.
    assert process(delta=0.0).log_total(jnp.asarray([0.0, 7.0])).tolist() == [0.0, 0.0]


def test_a_sentence_is_pooled_without_the_priors_component():
    """Whose mean is 0, and which outweighs small alphas: the others would shrink."""
    kept, of_tokens = ALPHA[:3, 1:], np.asarray(MEANS)[:3, 1:]
    expected = np.einsum("bn,bnp->bp", kept, of_tokens) / kept.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(Q.pooled[:3], expected, rtol=1e-5)
    np.testing.assert_array_equal(Q.pooled[3], 0)  # no vector
    small = dataclasses.replace(Q, log_alpha=LOG_ALPHA.at[:, 1:].add(-30.0))
    np.testing.assert_allclose(small.pooled[:3], expected, rtol=1e-5)


def test_rows_have_no_order_and_absent_ones_no_content(draws, results):
    q, z = Q, jax.tree.map(lambda leaf: leaf[2], draws[0])
    expected, _ = results(q, z)
    rows = np.array([0, 4, 3, 5, 1, 2])  # the prior's stays the first
    both = np.concatenate([rows, rows + N])
    moved = dataclasses.replace(
        q, means=MEANS[:, rows], log_vars=LOG_VARS[:, rows], log_alpha=LOG_ALPHA[:, rows]
    )
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    got, _ = results(moved, jax.tree.map(lambda leaf: leaf[:, both], z))
    head = jax.tree.map(lambda leaf: leaf[:EXTREME], (got[0], got[1], got[2], got[3][0]))
    its = jax.tree.map(lambda leaf: leaf[:EXTREME], (*expected[:3], expected[3][0]))
    jax.tree.map(close, head, its)
    absent = ~PRESENT[..., None]
    other = dataclasses.replace(
        q, means=jnp.where(absent, 77.0, MEANS), log_vars=jnp.where(absent, 9.0, LOG_VARS)
    )
    vectors = jnp.where(np.tile(absent, (1, KAPPA, 1)), -55.0, z.vectors)
    jax.tree.map(close, results(other, z._replace(vectors=vectors))[0], expected)
    fewer = z._replace(log_weights=z.log_weights.at[0, 2].set(-jnp.inf))
    np.testing.assert_array_equal(results(q, fewer)[0][0] == -np.inf, np.arange(B) == 0)


def test_padding_does_not_move_the_draws(draws):
    def padded(leaf, value):
        return jnp.pad(leaf, [(0, 0), (0, 2)] + [(0, 0)] * (leaf.ndim - 2), constant_values=value)

    wide = NVIB(
        padded(MEANS, 3.0), padded(LOG_VARS, 1.0), padded(LOG_ALPHA, -np.inf), Q.rows, KAPPA
    )
    keys = jax.random.split(jax.random.key(1), (NUMBER, B))[7]
    z = jax.jit(lambda keys: wide.sample(keys))(keys)
    for leaf, its in zip(z[:2], draws[0][:2], strict=True):
        leaf = np.asarray(leaf).reshape(B, KAPPA, N + 2, *leaf.shape[2:])[:, :, :N]
        its = np.asarray(its)[7].reshape(leaf.shape)
        np.testing.assert_allclose(leaf, its, rtol=1e-5, atol=1e-5)


def test_four_devices_draw_what_one_does():
    """Of the exact sampler, whose loops end when the last row has what it needs."""
    rows = np.array([0, 1, 2, 6] * 2)
    sentences = dataclasses.replace(
        Q,
        means=MEANS[rows],
        log_vars=LOG_VARS[rows],
        log_alpha=LOG_ALPHA[rows],
        rows=Q.rows[rows],
    )
    keys = example_keys(jax.random.key(4), jnp.arange(8))
    one = jax.jit(lambda q, keys: q.sample(keys))(sentences, keys)
    pairs = jax.tree.map(lambda leaf: leaf.reshape(4, 2, *leaf.shape[1:]), (sentences, keys))
    four = jax.pmap(lambda q, keys: q.sample(keys))(*pairs)
    for ours, theirs in zip(four[:2], one[:2], strict=True):
        assert len(ours.sharding.device_set) == 4
        np.testing.assert_allclose(np.asarray(ours).reshape(theirs.shape), theirs, rtol=1e-6)
    assert np.all(one.vectors[0] != one.vectors[4])  # one posterior, two sentences


# The head.

T, H = 5, 4
HIDDEN = jnp.asarray(RNG.normal(size=(3, T, H)), jnp.float32)
LENGTHS = np.array([5, 3, 1])
MASK = np.arange(T) < LENGTHS[:, None]
THERE = np.concatenate([np.ones((3, 1), bool), MASK], axis=1)


def moved(family, hidden=HIDDEN):
    """Parameters of a head, not fresh."""
    params = family.posterior.init(jax.random.key(1), hidden, MASK, train=True)
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), params)


@pytest.mark.parametrize("alpha", ["relu", "exp"])
def test_a_fresh_head_has_the_priors_pseudo_counts(alpha):
    head = nvib(latent_size=P, alpha=alpha, kappa=KAPPA).posterior
    params = head.init(jax.random.key(1), HIDDEN, MASK, train=True)
    q = head.apply(params, HIDDEN, MASK, train=True)
    np.testing.assert_array_equal(np.exp(q.log_alpha), THERE)
    np.testing.assert_array_equal(q.rows, LENGTHS + 1)
    np.testing.assert_allclose(KL_D(q, process(delta=1.0).log_total(LENGTHS)), 0, atol=1e-6)
    assert np.all(np.asarray(q.means)[:, 0] == 0) and np.all(np.asarray(q.log_vars)[:, 0] == 0)
    # In bfloat16 the states alone are rounded.
    rounded = head.apply(
        moved(nvib(latent_size=P, alpha=alpha)), HIDDEN.astype(jnp.bfloat16), MASK, train=True
    )
    assert rounded.log_alpha.dtype == rounded.means.dtype == jnp.float32
    assert not np.any(np.isnan(rounded.log_alpha))


@pytest.mark.parametrize("alpha", ["relu", "exp"])
def test_a_step_moves_a_share_of_alpha_whatever_the_start(alpha):
    """Adam's first step down, the same of each weight, of a state of 16 units of size 1."""
    hidden, mask, shares = jnp.ones((1, 1, 16)), jnp.ones((1, 1), bool), []
    for start in (0.1, 10.0):
        head = nvib(latent_size=P, alpha=alpha, start=start).posterior
        shapes = jax.eval_shape(partial(head.init, train=True), jax.random.key(1), hidden, mask)
        stepped = jax.tree.map(lambda leaf: jnp.full(leaf.shape, -1e-3), shapes)
        q = jax.jit(partial(head.apply, train=True))(stepped, hidden, mask)
        shares.append(1 - float(jnp.exp(q.log_alpha[0, 1])) / start)
    expected = 1e-3 * (4 + 1)
    if alpha == "exp":  # and the squares'
        expected = -np.expm1(-expected - 1e-3)
    np.testing.assert_allclose(shares, expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("alpha", "kappa", "prune"),
    [("relu", 1, 0.0), ("relu", 2, 0.0), ("relu", 2, 0.3), ("exp", 1, 0.3)],
)
def test_the_head_deletes_what_it_says_and_padding_moves_nothing(alpha, kappa, prune):
    family = nvib(latent_size=P, alpha=alpha, kappa=kappa, prior_alpha=0.5, prune=prune, start=0.5)
    params = moved(family)
    if alpha == "relu":
        params["params"]["alpha"]["bias"] -= 1.5  # some of the alphas are then 0, or small
    wide = jnp.pad(HIDDEN, ((0, 0), (0, 2), (0, 0)), constant_values=50.0)
    by_train = {}
    for train in (True, False):
        q = by_train[train] = family.posterior.apply(params, HIDDEN, MASK, train=train)
        other = family.posterior.apply(params, wide, np.pad(MASK, ((0, 0), (0, 2))), train=train)
        for name in ("means", "log_vars", "log_alpha"):
            ours = np.asarray(getattr(other, name))[:, : T + 1]
            np.testing.assert_allclose(ours, getattr(q, name), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(other.rows, q.rows)
        np.testing.assert_allclose(np.exp(q.log_alpha[:, 0]), 0.5, rtol=1e-6)
    present = {train: np.asarray(q.mean.present) for train, q in by_train.items()}
    assert np.any(THERE & ~present[False])
    before = np.asarray(by_train[True].log_alpha)
    # A ReLU deletes in training, too.
    assert np.any(THERE & ~present[True]) == (alpha == "relu")
    np.testing.assert_array_equal(present[True], before > -np.inf)
    np.testing.assert_array_equal(present[False][:, 1:], np.exp(before[:, 1:]) > prune)
    log_b = process(kappa=kappa).log_total(LENGTHS)
    costs = [KL_D(by_train[train], log_b) for train in (True, False)]
    assert np.all(costs[0] == costs[1]) == (prune == 0)


def test_pseudo_counts_are_those_of_the_two_formulas():
    """In NumPy, of the head's own parameters; far out they stop at 1e30."""
    for alpha, size in (("relu", 1.0), ("exp", 1.0), ("exp", 1e3), ("relu", 1e35)):
        family = nvib(latent_size=P, alpha=alpha, start=0.2)
        params = moved(family)
        q = family.posterior.apply(params, size * HIDDEN, MASK, train=True)
        maps = jax.tree.map(partial(np.asarray, dtype=np.float64), params["params"])
        hidden = size * np.asarray(HIDDEN, np.float64)
        read = hidden / np.sqrt(H)
        linear = (read @ maps["alpha"]["kernel"] + maps["alpha"]["bias"])[..., 0]
        if alpha == "exp":
            linear += (np.square(read) @ maps["alpha_quadratic"]["kernel"])[..., 0]
            linear += np.log(0.2)
            expected = np.exp(np.clip(linear, np.log(1e-30), np.log(1e30)))
        else:
            expected = np.minimum(0.2 * np.maximum(1 + linear, 0), 1e30)
        ours = np.exp(np.asarray(q.log_alpha, np.float64))[:, 1:]
        np.testing.assert_allclose(ours, np.where(MASK, expected, 0), rtol=1e-4)


def test_options_are_checked():
    for options in ({"alpha": "softplus"}, {"kappa": 0}, {"prune": -1}, {"start": 0}):
        with pytest.raises(jvae.UserError, match="nvib"):
            nvib(latent_size=P, **options)
