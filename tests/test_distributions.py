"""Posterior families against SciPy, and their samples against their densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jvae.distributions import (
    Delta,
    DiagonalGaussian,
    NoLatent,
    closed_form_kl,
    has_density,
    is_empty,
    is_factorised_gaussian,
    kl_divergence,
    sample_and_log_prob,
    surrogate_kl,
)
from jvae.posteriors.flow import Flow
from jvae.posteriors.full import FullGaussian
from jvae.posteriors.nvib import NVIB
from jvae.posteriors.tokens import TokenDelta, TokenGaussian
from jvae.posteriors.vmf import UniformSphere, VonMisesFisher
from jvae.priors.dirichlet_process import DirichletProcess
from jvae.priors.mixture import GaussianMixture
from jvae.priors.normal_set import NormalSet
from jvae.random import example_keys
from tests.conftest import make_batch

MEAN = np.array([[0.5, -1.0, 2.0], [0.0, 3.0, -0.5]], np.float32)
LOG_VAR = np.array([[0.0, -2.0, 1.0], [0.5, -1.0, 2.0]], np.float32)
Q = DiagonalGaussian(jnp.asarray(MEAN), jnp.asarray(LOG_VAR))
KEYS = example_keys(jax.random.key(0), jnp.arange(2))


def test_the_density_is_that_of_scipy_and_broadcasts_over_samples():
    z = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    expected = stats.norm(MEAN, np.exp(LOG_VAR / 2)).logpdf(z).sum(axis=-1)
    np.testing.assert_allclose(Q.log_prob(z), expected, rtol=1e-5)
    np.testing.assert_allclose(Q.log_prob(z[1]), expected[1], rtol=1e-5)
    row = jax.tree.map(lambda field: field[:1], Q)
    np.testing.assert_allclose(
        row.log_prob(z[0]),
        stats.norm(MEAN[:1], np.exp(LOG_VAR[:1] / 2)).logpdf(z[0]).sum(-1),
        rtol=1e-5,
    )


def test_samples_have_the_density():
    number = 20_000

    @jax.jit
    def draw(keys):
        return jax.vmap(Q.sample)(keys)

    z = np.asarray(draw(jax.random.split(jax.random.key(1), (number, 2))), np.float64)
    standard = (z - MEAN) / np.exp(LOG_VAR / 2)
    for row in range(2):
        for dimension in range(3):
            # 1.95 / sqrt(n) has p about 0.001 under Kolmogorov-Smirnov; fixed seeds.
            distance = stats.kstest(standard[:, row, dimension], "norm").statistic
            assert distance < 1.95 / np.sqrt(number)
    flat = standard.reshape(number, -1)
    correlation = np.corrcoef(flat.T) - np.eye(6)
    assert np.abs(correlation).max() < 4 / np.sqrt(number)


def test_a_row_is_drawn_from_its_own_key():
    z = Q.sample(KEYS)
    swapped = jax.tree.map(lambda field: field[::-1], Q).sample(KEYS[::-1])
    np.testing.assert_array_equal(swapped, z[::-1])
    np.testing.assert_allclose(jax.jit(lambda k: Q.sample(k))(KEYS), z, rtol=1e-5)


def test_samples_are_reparameterised():
    """`dz / dmean = 1` and `dz / dlog_var = (z - mean) / 2`."""

    def total(q):
        return jnp.sum(q.sample(KEYS))

    grads = jax.jit(jax.grad(total))(Q)
    np.testing.assert_array_equal(grads.mean, np.ones((2, 3)))
    np.testing.assert_allclose(grads.log_var, (Q.sample(KEYS) - MEAN) / 2, rtol=1e-4, atol=1e-6)


def test_a_point_mass_is_its_mean_and_passes_through_transformations():
    q = Delta(jnp.asarray(MEAN))
    np.testing.assert_array_equal(jax.jit(lambda q: q.sample(KEYS))(q), MEAN)
    assert np.all(np.asarray(jnp.exp(q.log_var)) == 0)
    with pytest.raises(TypeError, match="no KL, no ELBO and no importance weights"):
        q.log_prob(MEAN)


def test_closed_forms_are_zero_between_equals_and_positive_otherwise():
    np.testing.assert_array_equal(closed_form_kl(Q, Q), np.zeros((2, 3)))
    other = DiagonalGaussian(Q.mean + 0.1, Q.log_var)
    # (0.1)^2 / (2 var)
    np.testing.assert_allclose(closed_form_kl(Q, other), 0.005 / np.exp(LOG_VAR), rtol=1e-4)
    assert np.all(np.asarray(closed_form_kl(Q, DiagonalGaussian(Q.mean, Q.log_var - 0.3))) > 0)


def test_vmap_over_samples_keeps_shapes():
    keys = jax.vmap(lambda k: example_keys(k, make_batch(2, 3).index))(
        jax.random.split(jax.random.key(2), 5)
    )
    z = jax.vmap(Q.sample)(keys)
    assert z.shape == (5, 2, 3)
    assert jax.vmap(Q.log_prob)(z).shape == (5, 2)


def test_the_entropy_is_that_of_scipy():
    expected = stats.norm(MEAN, np.exp(LOG_VAR / 2)).entropy().sum(axis=-1)
    np.testing.assert_allclose(Q.entropy(), expected, rtol=1e-5)


# What families offer, and to whom.

ROWS, LOGITS = jnp.zeros((2, 4, 3)), jnp.zeros(5)
PRESENT = jnp.zeros((2, 4))
FAMILIES = {
    "diagonal": Q,
    "point": Delta(Q.mean),
    "full": FullGaussian(Q.mean, jnp.broadcast_to(jnp.eye(3), (2, 3, 3))),
    "vmf": VonMisesFisher(jnp.eye(2, 3), 4.0),
    "flow": Flow(Q, ()),
    "tokens": TokenGaussian(ROWS, ROWS, PRESENT),
    "point_tokens": TokenDelta(ROWS, PRESENT),
    "nvib": NVIB(ROWS, ROWS, PRESENT, jnp.full(2, 4.0)),
}
PRIORS = {
    "standard_normal": DiagonalGaussian(jnp.zeros((1, 3)), jnp.zeros((1, 3))),
    "uniform_sphere": UniformSphere(jnp.zeros((1, 3))),
    "mixture": GaussianMixture(jnp.zeros(2), jnp.zeros((2, 3)), jnp.zeros((2, 3))),
    "normal_set": NormalSet(LOGITS, 3),
    "dirichlet_process": DirichletProcess(LOGITS, 3, 1.0, 1.0, 1),
}
CLOSED = {
    ("diagonal", "standard_normal"): (2, 3),
    ("point", "standard_normal"): (2, 3),
    ("full", "standard_normal"): (2,),
    ("vmf", "uniform_sphere"): (2,),
    ("tokens", "normal_set"): (2,),
    ("point_tokens", "normal_set"): (2,),
}
SURROGATES = {("tokens", "normal_set"), ("nvib", "dirichlet_process")}


class Stranger:
    """A family that nobody knows."""


@pytest.mark.parametrize("of_prior", PRIORS)
@pytest.mark.parametrize("of_posterior", FAMILIES)
def test_a_pair_has_a_closed_form_or_none_and_nobody_fails(of_posterior, of_prior):
    q, p = FAMILIES[of_posterior], PRIORS[of_prior]
    closed_form, surrogate = closed_form_kl(q, p), surrogate_kl(q, p)
    if (of_posterior, of_prior) in CLOSED:
        assert closed_form.shape == CLOSED[of_posterior, of_prior]
        assert kl_divergence(q, p, None)[1] is True
    else:
        assert closed_form is None
    if (of_posterior, of_prior) in SURROGATES:
        assert all(term.shape == (2,) for term in surrogate.values())
    else:
        assert surrogate is None


def test_unknown_families_are_not_implemented_rather_than_wrong():
    asked = 0
    for family in (*FAMILIES.values(), *PRIORS.values()):
        for method in ("kl_to", "kl_from", "surrogate_from"):
            if (offered := getattr(family, method, None)) is not None:
                assert offered(Stranger()) is NotImplemented
                asked += 1
        assert closed_form_kl(family, Stranger()) is None
        assert closed_form_kl(Stranger(), family) is None
        assert surrogate_kl(Stranger(), family) is None
    assert asked > 6
    assert closed_form_kl(Stranger(), Stranger()) is None


def test_the_posterior_is_asked_before_the_prior_and_either_may_know():
    class Knowing(Stranger):
        def kl_to(self, p):
            return jnp.ones(2) if isinstance(p, Stranger) else NotImplemented

        def kl_from(self, q):
            return jnp.full(2, 2.0) if isinstance(q, Stranger) else NotImplemented

    np.testing.assert_array_equal(closed_form_kl(Knowing(), Knowing()), [1, 1])
    np.testing.assert_array_equal(closed_form_kl(Stranger(), Knowing()), [2, 2])
    np.testing.assert_array_equal(closed_form_kl(Knowing(), Stranger()), [1, 1])
    assert closed_form_kl(Knowing(), Q) is None and closed_form_kl(Q, Knowing()) is None


def test_only_point_masses_have_no_density_and_only_gaussians_factorise():
    for name, q in FAMILIES.items():
        assert has_density(q) == (name not in ("point", "point_tokens"))
        assert is_factorised_gaussian(q) == (name in ("diagonal", "point"))
        assert not is_empty(q)
    assert has_density(Stranger()) and not is_empty(Stranger())


def test_a_sample_comes_with_its_density_where_that_of_others_is_unknown():
    z, log_q = sample_and_log_prob(Q, KEYS)
    np.testing.assert_array_equal(z, Q.sample(KEYS))
    assert log_q is None
    z, log_q = sample_and_log_prob(Flow(Q, ()), KEYS)
    np.testing.assert_array_equal(z, Q.sample(KEYS))
    np.testing.assert_array_equal(log_q, Q.log_prob(z))
    # An estimated KL takes the densities that came with the samples.
    prior = PRIORS["mixture"]
    kl, closed_form = kl_divergence(Flow(Q, ()), prior, z[None], log_q[None])
    assert closed_form is False
    np.testing.assert_allclose(kl, Q.log_prob(z) - prior.log_prob(z), rtol=1e-5)


def test_no_latent_has_one_certain_value_and_pays_no_prior():
    q = NoLatent(jnp.zeros((2, 0)))
    assert is_empty(q) and has_density(q)
    assert q.sample(KEYS).shape == q.mean.shape == q.log_var.shape == (2, 0)
    np.testing.assert_array_equal(q.log_prob(q.sample(KEYS)), np.zeros(2))
    assert q.log_prob(jnp.zeros((5, 2, 0))).shape == (5, 2)
    for p in (*PRIORS.values(), Stranger()):
        kl, closed_form = kl_divergence(q, p, None)
        assert kl.shape == (2, 0) and closed_form
    # It passes through transformations.
    assert jax.jit(lambda q: q.sample(KEYS))(q).shape == (2, 0)
    assert jax.vmap(q.sample)(jnp.stack([KEYS] * 3)).shape == (3, 2, 0)
