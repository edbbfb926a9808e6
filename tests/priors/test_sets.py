"""Priors over sets: densities against SciPy, draws against densities, and the bound they give."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

import jvae
from jvae.distributions.sets import VectorSet
from jvae.posteriors.nvib import NVIB
from jvae.posteriors.tokens import TokenGaussian
from jvae.priors import dirichlet_process, normal_set

RNG = np.random.default_rng(0)
P, MAX = 2, 3
LOGITS = np.array([-1.0, 0.5, 1.0, 0.2])
COUNTS = np.exp(LOGITS) / np.exp(LOGITS).sum()
NUMBER = 3000


def of(prior: jvae.Prior):
    assert prior.init(jax.random.key(0))["logits"].tolist() == [0.0] * (MAX + 1)
    return prior.apply({"prior": {"logits": jnp.asarray(LOGITS, jnp.float32)}})


def process(**options):
    return of(dirichlet_process(latent_size=P, max_count=MAX, **options))


def a_set(pi) -> VectorSet:
    """With weights pi, where 0 is absent and holds what it likes."""
    pi = np.asarray(pi)
    with np.errstate(divide="ignore"):
        vectors = np.where(pi[:, None] > 0, RNG.normal(size=(len(pi), P)), 1e9)
        return VectorSet(*(jnp.asarray(a, jnp.float32)[None] for a in (vectors, np.log(pi))))


def test_the_density_of_a_normal_set_is_that_of_scipy():
    p, z = of(normal_set(latent_size=P, max_count=MAX)), a_set([1, 0, 1, 0, 0])
    expected = np.log(COUNTS[2]) + stats.norm.logpdf(z.vectors[0, [0, 2]]).sum()
    np.testing.assert_allclose(p.log_prob(z), [expected], rtol=1e-5)
    assert p.log_prob(a_set([1] * 4)) == -np.inf  # more than there can be


@pytest.mark.parametrize(("delta", "kappa"), [(1.0, 1), (0.25, 2), (0.0, 2)])
def test_the_density_of_a_dirichlet_process_is_that_of_scipy(delta, kappa):
    p = process(delta=delta, kappa=kappa, prior_alpha=0.7)
    log_prob = jax.jit(p.log_prob)
    for n in range(MAX + 1):
        rows = kappa * (n + 1)
        pi = RNG.dirichlet(np.ones(rows))
        z = a_set(np.append(np.insert(pi, 1, 0), np.zeros(11 - rows)))
        alpha = np.full(rows, (0.7 + delta * n) / rows)
        expected = np.log(COUNTS[n]) + (stats.dirichlet(alpha).logpdf(pi) if rows > 1 else 0)
        expected += stats.norm.logpdf(np.asarray(z.vectors)[0, np.asarray(z.present)[0]]).sum()
        np.testing.assert_allclose(log_prob(z), [expected], rtol=2e-5)
    rows = kappa * (MAX + 2)
    assert log_prob(a_set(np.append(np.full(rows, 1 / rows), np.zeros(12 - rows)))) == -np.inf


def test_weights_that_underflow_have_a_density():
    """`(alpha - 1) log pi` of a weight `exp(-1000)`, against one of `exp(-80)`."""
    least = jnp.asarray([[0.0, -80.0], [0.0, -1000.0], [0.0, -1e30]])
    z = VectorSet(jnp.zeros((3, 2, P)), least)
    for delta, change in ((1.0, 0), (0.0, 460)):  # alpha is 1, and 1/2
        log_prob = jax.jit(process(delta=delta).log_prob)(z)
        np.testing.assert_allclose(log_prob[1] - log_prob[0], change, rtol=1e-5, atol=1e-3)
        assert np.all(np.isfinite(log_prob))


def test_draws_have_the_distribution():
    keys, kappa = jax.random.split(jax.random.key(1), NUMBER), 2
    p = process(delta=0.5, kappa=kappa)
    z = jax.jit(p.sample)(keys)
    assert z.vectors.shape == (NUMBER, kappa * (MAX + 1), P)
    n = np.asarray(z.present).sum(axis=1) // kappa - 1
    shares = np.bincount(n, minlength=MAX + 1) / NUMBER
    assert np.all(np.abs(shares - COUNTS) < 4 * np.sqrt(COUNTS * (1 - COUNTS) / NUMBER))
    pi = np.exp(np.asarray(z.log_weights, np.float64))
    np.testing.assert_allclose(pi.sum(axis=1), 1, rtol=1e-5)
    # The first weight of n vectors is Beta(b/K, b - b/K).
    first, total, rows = pi[n == 2, 0], 1 + 0.5 * 2, kappa * 3
    exact = stats.beta(total / rows, total - total / rows)
    assert stats.kstest(first, exact.cdf).statistic < 1.95 / np.sqrt(len(first))
    vectors = np.asarray(z.vectors)[np.asarray(z.present)].ravel()
    assert stats.kstest(vectors, "norm").statistic < 1.95 / np.sqrt(len(vectors))
    assert np.all(np.isfinite(jax.jit(p.log_prob)(z)))

    z = jax.jit(of(normal_set(latent_size=P, max_count=MAX)).sample)(keys)
    assert z.vectors.shape == (NUMBER, MAX, P)
    shares = np.bincount(np.asarray(z.present).sum(axis=1), minlength=MAX + 1) / NUMBER
    assert np.all(np.abs(shares - COUNTS) < 4 * np.sqrt(COUNTS * (1 - COUNTS) / NUMBER))
    vectors = np.asarray(z.vectors)[np.asarray(z.present)].ravel()
    assert stats.kstest(vectors, "norm").statistic < 1.95 / np.sqrt(len(vectors))


# The bound, where p(x | n) is known: one symbol of two, `p(x = 1 | F) = s(2 sum_i pi_i Z_i + 1)`.

DELTA, PRIOR_ALPHA = 0.5, 1.0


def squares(rows: int, total: float) -> np.ndarray:
    """`pi'pi` of `Dir(total / rows, ..)`, halves of halves, by quantiles of equal shares."""
    if rows == 1:
        return np.ones(1)
    part = squares(rows // 2, total / 2)
    left, right = (x.ravel()[:, None] for x in np.meshgrid(part, part))
    pi = stats.beta(total / 2, total / 2).ppf((np.arange(60) + 0.5) / 60)
    return np.ravel(left * pi**2 + right * (1 - pi) ** 2)


def exact_likelihood(n: int, kappa: int) -> float:
    """`p(x = 1 | n)` by quadrature: given pi, `sum_i pi_i Z_i` is normal with variance `pi'pi`."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    deviation = np.sqrt(squares(kappa * (n + 1), PRIOR_ALPHA + DELTA * n))
    return float((expit(2 * np.outer(deviation, nodes) + 1) @ weights / weights.sum()).mean())


def two_symbols(kappa: int, logits) -> jvae.VAE:
    """x is a label: of 1 a vector is kept, of 0 none, whose row is no part of F."""
    q = NVIB(
        jnp.asarray([[[0.0], [0.4]], [[-0.3], [5.0]]]),
        jnp.asarray([[[0.2], [0.3]], [[0.1], [0.0]]]),
        jnp.asarray([[-0.2, 0.1], [0.0, -jnp.inf]]),
        jnp.asarray([2.0, 2.0]),
        kappa,
    )

    def log_prob(params, z, batch, context, *, key, train):
        centre = jnp.sum(jnp.exp(z.log_weights) * z.vectors[..., 0], axis=-1)
        return jax.nn.log_sigmoid((2 * batch.x.classes - 1) * (2 * centre + 1))

    prior = dirichlet_process(
        latent_size=1, max_count=1, delta=DELTA, prior_alpha=PRIOR_ALPHA, kappa=kappa
    )
    p = prior.apply({"prior": {"logits": jnp.asarray(logits, jnp.float32)}})
    return jvae.VAE(
        jvae.Encoder(lambda *_: {}, lambda params, batch, context, *, key, train: q),
        jvae.Decoder(lambda *_: {}, log_prob),
        jvae.Prior(lambda key: {}, lambda params, context: p),
    )


@pytest.mark.parametrize("kappa", [1, 2])
def test_importance_weights_come_to_the_likelihood_of_the_sentences_own_count(kappa):
    """`E w = p(n) p(x | n)` within 4 standard errors, `E log w` below, all of it below p(x)."""
    logits, number = np.array([0.3, -0.4]), 20_000
    counts = np.exp(logits) / np.exp(logits).sum()
    x = jvae.Labels(jnp.asarray([1, 0]))
    batch = jvae.Batch(x, None, jnp.arange(2), jnp.ones(2))
    params = {"encoder": {}, "decoder": {}, "prior": {}}
    estimate = partial(jvae.iw_log_likelihood, num_samples=number, chunk_size=number)
    estimate = jax.jit(partial(estimate, two_symbols(kappa, logits), params, batch))
    tight, log_w = (np.asarray(x, np.float64) for x in estimate(key=jax.random.key(2)))
    one = {n: exact_likelihood(n, kappa) for n in (0, 1)}
    exact = counts[[1, 0]] * np.array([one[1], 1 - one[0]])
    weights = np.exp(log_w)
    error = weights.std(axis=0) / np.sqrt(number)
    assert np.all(error < 0.02 * exact)
    assert np.all(np.abs(weights.mean(axis=0) - exact) < 4 * error)
    np.testing.assert_allclose(np.exp(tight), weights.mean(axis=0), rtol=1e-4)
    bound, spread = log_w.mean(axis=0), log_w.std(axis=0) / np.sqrt(number)
    assert np.all(bound + 4 * spread < np.log(exact))
    # The model's own p(x), over both counts.
    all_counts = [counts @ [one[0], one[1]]]
    all_counts.append(1 - all_counts[0])
    assert np.all(np.log(exact) < np.log(all_counts))


def test_options_are_checked():
    with pytest.raises(jvae.UserError, match="dirichlet_process"):
        process(delta=-1.0)


def test_counts_of_a_split_are_counted_row_by_row_and_fitted_with_one_more_of_each():
    """Sums of parts are those of the whole, and a padding row counts for nothing."""
    prior = normal_set(latent_size=P, max_count=MAX)
    log_weights = jnp.where(jnp.arange(5) < jnp.asarray([2, 1, 2, 0, 3])[:, None], 0.0, -jnp.inf)
    rows = jnp.zeros((5, 5, P))
    q, weight = TokenGaussian(rows, rows, log_weights), jnp.asarray([1.0, 1, 1, 1, 0])
    whole = jax.jit(prior.observe)(q, weight)
    np.testing.assert_array_equal(whole, [1, 1, 2, 0])
    halves = [
        prior.observe(jax.tree.map(lambda leaf, part=part: leaf[part], q), weight[part])
        for part in (slice(0, 2), slice(2, 5))
    ]
    np.testing.assert_array_equal(sum(halves), whole)
    fitted = prior.fit(prior.init(jax.random.key(0)) | {"other": 1}, whole)
    np.testing.assert_allclose(np.exp(fitted["logits"]), np.array([2, 2, 3, 1]) / 8, rtol=1e-6)
    assert fitted["other"] == 1
    process = dirichlet_process(latent_size=P, max_count=MAX)
    mixture = NVIB(rows, rows, log_weights.at[:, 0].set(0.0), jnp.full(5, 5.0), 2)
    np.testing.assert_array_equal(process.observe(mixture, weight), [2, 2, 0, 0])
