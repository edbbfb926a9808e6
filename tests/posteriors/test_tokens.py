"""Sets with a Gaussian for each token, against SciPy, and the head that makes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jvae
from jvae.distributions import closed_form_kl, has_density, surrogate_kl
from jvae.posteriors import vt, vts
from jvae.posteriors.tokens import TokenDelta, TokenGaussian, kept_positions
from jvae.priors.normal_set import NormalSet
from jvae.random import example_keys

RNG = np.random.default_rng(0)
B, T, H, P = 3, 5, 4, 2
HIDDEN = jnp.asarray(RNG.normal(size=(B, T, H)), jnp.float32)
MASK = jnp.arange(T) < jnp.asarray([5, 3, 1])[:, None]
KEYS = example_keys(jax.random.key(0), jnp.arange(B))
LOGITS = jnp.asarray(RNG.normal(size=T + 1), jnp.float32)


def made(family, hidden=HIDDEN, mask=MASK):
    """The posterior of a head with fresh parameters."""
    params = family.posterior.init(jax.random.key(1), hidden, mask, train=False)
    return family.posterior.apply(params, hidden, mask, train=False)


Q = made(vt(latent_size=P))


def test_the_density_is_that_of_scipy_over_the_vectors_that_are_there():
    z = Q.sample(KEYS)
    assert z.log_vars is None
    np.testing.assert_array_equal(z.present, MASK)
    rows = stats.norm(np.asarray(Q.means), np.exp(np.asarray(Q.log_vars) / 2)).logpdf(z.vectors)
    expected = np.sum(rows.sum(axis=-1), axis=-1, where=np.asarray(MASK))
    np.testing.assert_allclose(Q.log_prob(z), expected, rtol=1e-5)
    samples = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), z)
    np.testing.assert_allclose(Q.log_prob(samples), [expected, expected], rtol=1e-5)
    # A set with a vector less is none of its draws.
    fewer = z._replace(log_weights=z.log_weights.at[0, 2].set(-jnp.inf))
    np.testing.assert_array_equal(Q.log_prob(fewer) == -np.inf, [True, False, False])


def test_draws_have_the_moments_and_belong_to_sentence_and_position():
    draws = jax.jit(jax.vmap(Q.sample))(jax.random.split(jax.random.key(2), (4000, B)))
    z = np.asarray(draws.vectors, np.float64)
    error = np.exp(np.asarray(Q.log_vars) / 2) / np.sqrt(4000)
    assert np.all(np.abs(z.mean(axis=0) - Q.means)[np.asarray(MASK)] < 4 * error[np.asarray(MASK)])
    variance = z.var(axis=0) / np.exp(Q.log_vars)
    assert np.all(np.abs(variance - 1)[np.asarray(MASK)] < 4 * np.sqrt(2 / 4000))
    assert np.all(z[:, ~np.asarray(MASK)] == 0)

    wide = made(
        vt(latent_size=P),
        jnp.pad(HIDDEN, ((0, 0), (0, 2), (0, 0)), constant_values=np.nan),
        jnp.pad(MASK, ((0, 0), (0, 2))),
    )
    z = Q.sample(KEYS)
    np.testing.assert_allclose(wide.sample(KEYS).vectors[:, :T], z.vectors, rtol=1e-6)
    np.testing.assert_allclose(wide.log_prob(wide.sample(KEYS)), Q.log_prob(z), rtol=1e-6)
    swapped = jax.tree.map(lambda leaf: leaf[::-1], Q).sample(KEYS[::-1])
    np.testing.assert_array_equal(swapped.vectors[::-1], z.vectors)


def test_the_kl_is_the_gaussians_of_the_vectors_and_the_length():
    p = NormalSet(LOGITS, P)
    terms = surrogate_kl(Q, p)
    variance, mask = np.exp(np.asarray(Q.log_vars, np.float64)), np.asarray(MASK)
    rows = 0.5 * (variance + np.square(Q.means) - 1 - np.log(variance)).sum(axis=-1)
    np.testing.assert_allclose(terms["gaussian"], (rows * mask).sum(axis=1), rtol=1e-5)
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum()
    np.testing.assert_allclose(terms["length"], -np.log(probabilities[[5, 3, 1]]), rtol=1e-5)
    total = closed_form_kl(Q, p)
    np.testing.assert_allclose(total, terms["gaussian"] + terms["length"])

    # It is E log q - log p of its own draws.
    @jax.jit
    def estimate(keys):
        z = jax.vmap(Q.sample)(keys)
        return Q.log_prob(z) - p.log_prob(z)

    estimates = np.asarray(estimate(jax.random.split(jax.random.key(3), (4000, B))))
    error = estimates.std(axis=0) / np.sqrt(4000)
    assert np.all(np.abs(estimates.mean(axis=0) - total) < 4 * error)


def test_a_point_set_is_its_means_and_has_no_density():
    q = made(vt(latent_size=P, point=True))
    np.testing.assert_array_equal(q.means, Q.means)  # the same head, without its variances
    np.testing.assert_array_equal(q.sample(KEYS).vectors, q.means)
    np.testing.assert_array_equal(q.mean.pooled, Q.mean.pooled)
    assert isinstance(q, TokenDelta) and not has_density(q) and has_density(Q)
    assert np.all(np.asarray(closed_form_kl(q, NormalSet(LOGITS, P))) == 0)
    with pytest.raises(TypeError, match="no KL, no ELBO and no importance weights"):
        q.log_prob(q.mean)


def test_the_pooled_vector_is_the_average_of_the_means():
    expected = [np.asarray(Q.means)[b, :n].mean(axis=0) for b, n in enumerate([5, 3, 1])]
    np.testing.assert_allclose(Q.mean.pooled, expected, rtol=1e-5)
    nothing = made(vt(latent_size=P), mask=jnp.zeros((B, T), bool))
    assert np.all(np.asarray(nothing.mean.pooled) == 0)
    assert np.all(np.asarray(nothing.log_prob(nothing.sample(KEYS))) == 0)


@pytest.mark.parametrize(
    ("stride", "kept"),
    [
        (0, "111111111"),
        (0.3, "110110110"),
        (0.37, "101010101"),
        (0.62, "101010101"),
        (0.7, "100100100"),
        (0.75, "100010001"),
        (1, "100000000"),
    ],
)
def test_a_stride_drops_positions_as_the_source_does(stride, kept):
    assert "".join("01"[k] for k in kept_positions(9, stride).astype(int)) == kept
    q = made(vts(latent_size=P, stride=stride))
    expected = np.array([k == "1" for k in kept[:T]]) & np.asarray(MASK)
    np.testing.assert_array_equal(q.mean.present, expected)
    if stride == 0:
        jax.tree.map(np.testing.assert_array_equal, q, Q)


def test_a_stride_is_a_share():
    with pytest.raises(jvae.UserError, match="stride is 1.5"):
        vts(latent_size=P, stride=1.5)


def test_extreme_variances_give_finite_draws_densities_and_gradients():
    extremes = jnp.asarray([-200.0, -80.0, 0.0, 40.0, 80.0])[None, :, None]
    log_vars = jnp.broadcast_to(extremes, Q.log_vars.shape)

    def total(means, log_vars):
        q = TokenGaussian(means, log_vars, Q.log_weights)
        z = q.sample(KEYS)
        kl = closed_form_kl(q, NormalSet(LOGITS, P))
        held = jax.tree.map(jax.lax.stop_gradient, z)
        return jnp.sum(kl) + jnp.sum(q.log_prob(held)) + jnp.sum(jnp.tanh(z.vectors))

    value, grads = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(Q.means, log_vars)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(g)) for g in grads)
