"""The loss puts the KL weight in once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.remedies.kl_schedules import constant, linear

TERMS = jvae.ELBOTerms(
    jnp.asarray([-10.0, -20.0, -5.0]),
    {"latent": jnp.asarray([[1.0, 2.0], [0.0, 0.5], [4.0, 0.0]]), "other": jnp.ones(3)},
)
KL = np.asarray([4.0, 1.5, 5.0])
RECONSTRUCTION = np.asarray([10.0, 20.0, 5.0])
WEIGHT = jnp.ones(3)


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 1.0, 4.0])
def test_the_weight_multiplies_the_kl_once(weight):
    loss = jvae.negative_elbo(constant(weight))(TERMS, jnp.asarray(3), WEIGHT)
    assert loss.shape == (3,)  # per sentence: nothing is averaged here
    np.testing.assert_array_equal(loss, RECONSTRUCTION + weight * KL)


def test_weight_one_is_minus_the_elbo():
    np.testing.assert_array_equal(jvae.negative_elbo(constant())(TERMS, 0, WEIGHT), -TERMS.elbo)


def test_the_weight_is_that_of_the_step():
    loss = jax.jit(jvae.negative_elbo(linear(0.0, 10)))
    for step, weight in ((0, 0.0), (5, 0.5), (10, 1.0), (1000, 1.0)):
        np.testing.assert_allclose(
            loss(TERMS, step, WEIGHT), RECONSTRUCTION + weight * KL, rtol=1e-6
        )


def test_the_terms_report_weight_one_whatever_the_loss():
    np.testing.assert_array_equal(TERMS.total_kl, KL)
    np.testing.assert_array_equal(TERMS.elbo, -RECONSTRUCTION - KL)


def test_the_gradient_carries_the_weight_once():
    def total(kl):
        terms = jvae.ELBOTerms(jnp.zeros(3), {"latent": kl})
        return jnp.sum(jvae.negative_elbo(constant(0.3))(terms, 0, WEIGHT))

    np.testing.assert_allclose(jax.grad(total)(jnp.ones((3, 2))), np.full((3, 2), 0.3), rtol=1e-6)
