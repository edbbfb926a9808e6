"""The loss puts the KL weight in once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from tests.conftest import make_batch, make_model

TERMS = jvae.ELBOTerms(
    jnp.asarray([-10.0, -20.0, -5.0]),
    {"latent": jnp.asarray([[1.0, 2.0], [0.0, 0.5], [4.0, 0.0]]), "other": jnp.ones(3)},
)
KL = np.asarray([4.0, 1.5, 5.0])
RECONSTRUCTION = np.asarray([10.0, 20.0, 5.0])
WEIGHT = jnp.ones(3)


@pytest.mark.smoke
@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 1.0, 4.0])
def test_the_weight_multiplies_the_kl_once(weight):
    loss = jvae.negative_elbo(TERMS, {"kl_weight": weight}, WEIGHT)
    assert loss.shape == (3,)  # per sentence: nothing is averaged here
    np.testing.assert_array_equal(loss, RECONSTRUCTION + weight * KL)


@pytest.mark.smoke
def test_weight_one_is_minus_the_elbo():
    loss = jvae.negative_elbo(TERMS, {"kl_weight": 1.0}, WEIGHT)
    np.testing.assert_array_equal(loss, -TERMS.elbo)


@pytest.mark.smoke
def test_the_terms_report_weight_one_whatever_the_loss():
    np.testing.assert_array_equal(TERMS.total_kl, KL)
    np.testing.assert_array_equal(TERMS.elbo, -RECONSTRUCTION - KL)


@pytest.mark.smoke
def test_the_gradient_carries_the_weight_once():
    def total(kl):
        terms = jvae.ELBOTerms(jnp.zeros(3), {"latent": kl})
        return jnp.sum(jvae.negative_elbo(terms, {"kl_weight": 0.3}, WEIGHT))

    np.testing.assert_allclose(jax.grad(total)(jnp.ones((3, 2))), np.full((3, 2), 0.3), rtol=1e-6)


@pytest.mark.smoke
def test_each_name_has_a_weight_of_its_own():
    kl = {"gaussian": jnp.array([1.0, 2.0]), "dirichlet": jnp.array([4.0, 8.0])}
    terms = jvae.ELBOTerms(jnp.array([-3.0, -5.0]), kl | {"length": jnp.array([0.5, 0.25])})
    scheduled = {"kl_weight": 9.0, "gaussian_weight": 0.5, "dirichlet_weight": 0.25}
    loss = jvae.objectives.negative_elbo_by_name(terms, scheduled, jnp.ones(2))
    np.testing.assert_allclose(loss, [3 + 0.5 + 1 + 0.5, 5 + 1 + 2 + 0.25])
    # Of one vector the KL is per dimension, weighed as a Gaussian's; the other term of 1 weighs 1.
    loss = jvae.objectives.negative_elbo_by_name(TERMS, scheduled, WEIGHT)
    np.testing.assert_allclose(loss, RECONSTRUCTION + 0.5 * (KL - 1) + 1)


@pytest.mark.smoke
def test_the_mean_of_a_batch_is_that_of_its_real_rows():
    weight = jnp.array([1.0, 1.0, 0.0])
    values = jvae.negative_elbo(TERMS, {"kl_weight": 1.0})
    mean = jvae.batch_mean(values, weight)
    np.testing.assert_allclose(mean, np.mean((RECONSTRUCTION + KL)[:2]))
    broken = values.at[2].set(jnp.nan)
    np.testing.assert_allclose(jvae.batch_mean(broken, weight), mean)
    gradient = jax.grad(jvae.batch_mean)(broken, weight)
    np.testing.assert_allclose(gradient, [0.5, 0.5, 0.0])


@pytest.mark.parametrize(
    ("function", "options", "says"),
    [
        (jvae.elbo, {"num_samples": 0}, "num_samples=0 must be at least 1"),
        (jvae.importance_weights, {"num_samples": 0, "chunk_size": 1}, "num_samples=0"),
        (jvae.importance_weights, {"num_samples": 1, "chunk_size": 0}, "chunk_size=0"),
        (jvae.iw_log_likelihood, {"num_samples": -1, "chunk_size": 1}, "num_samples=-1"),
    ],
)
def test_no_samples_are_refused(function, options, says, key):
    model, batch = make_model(), make_batch()
    with pytest.raises(jvae.UserError, match=says):
        function(model, jvae.init(model, batch, key=key), batch, key=key, **options)
