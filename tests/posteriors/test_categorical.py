"""Categorical latents: the family, its KL, exact enumeration, the metric of its classes."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import jvae
from jvae.batch import Batch
from jvae.components import check
from jvae.errors import UserError
from jvae.evaluation.metrics.classes import class_usage
from jvae.model import Decoder, Encoder
from jvae.posteriors.categorical import Categorical, categorical
from jvae.priors.categorical import categorical_prior
from jvae.random import example_keys
from jvae.tasks.text.config import TEXT_GROUPS, default_config
from tests.conftest import make_batch

KEY, K, B = jax.random.key(3), 4, 5
LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(B, K)), jnp.float32)
Q = Categorical(LOGITS)


def test_densities_entropy_and_kl_are_numpyros():
    oracle = dist.Categorical(logits=LOGITS)
    support = Q.support()
    assert support.shape == (K, B, K)
    log_probs = jax.vmap(Q.log_prob)(support)
    expected = jax.vmap(lambda k: oracle.log_prob(jnp.full(B, k)))(jnp.arange(K))
    np.testing.assert_allclose(log_probs, expected, rtol=1e-5)
    np.testing.assert_allclose(jnp.sum(jnp.exp(log_probs), axis=0), 1, rtol=1e-6)
    p = jnp.asarray(np.random.default_rng(1).normal(size=K), jnp.float32)
    other = dist.Categorical(logits=p)
    by_hand = np.sum(np.asarray(oracle.probs) * (np.asarray(log_probs).T - other.logits), axis=1)
    by_hand += float(jax.nn.logsumexp(other.logits))
    np.testing.assert_allclose(Q.kl_to(Categorical(p[None])), by_hand, rtol=1e-4)
    np.testing.assert_allclose(Q.entropy(), oracle.entropy(), rtol=1e-5)
    assert Q.kl_to(jvae.DiagonalGaussian(LOGITS, LOGITS)) is NotImplemented


def test_draws_have_the_probabilities_and_belong_to_their_example():
    number = 4000
    keys = jax.vmap(lambda n: example_keys(jax.random.fold_in(KEY, n), jnp.arange(B)))
    draws = np.asarray(jax.jit(jax.vmap(Q.sample))(keys(jnp.arange(number))))
    assert set(np.unique(draws)) == {0.0, 1.0}
    np.testing.assert_array_equal(draws.sum(axis=-1), 1)
    probabilities = np.asarray(Q.mean)
    errors = np.sqrt(probabilities * (1 - probabilities) / number)
    assert np.all(np.abs(draws.mean(axis=0) - probabilities) < 4.5 * errors)
    # Another order of the examples is another order of the draws.
    backwards = Categorical(LOGITS[::-1]).sample(example_keys(KEY, jnp.arange(B)[::-1]))
    np.testing.assert_array_equal(backwards[::-1], Q.sample(example_keys(KEY, jnp.arange(B))))


def test_the_moments_are_those_of_a_one_hot_vector():
    probabilities = np.asarray(Q.mean, np.float64)
    np.testing.assert_allclose(np.exp(Q.log_var), probabilities * (1 - probabilities), rtol=1e-4)
    certain = Categorical(jnp.array([[100.0, 0, 0, 0]]))
    assert np.all(np.isfinite(certain.log_var))


def test_relaxed_draws_approach_classes_and_have_gradients():
    keys = example_keys(KEY, jnp.arange(B))
    cold = Q.relaxed(keys, 1e-3)
    np.testing.assert_allclose(jnp.sum(cold, axis=-1), 1, rtol=1e-5)
    assert np.all(np.max(np.asarray(cold), axis=-1) > 0.99)

    def value(logits):
        return jnp.sum(jnp.square(Categorical(logits).relaxed(keys, 0.7))[:, 0])

    gradient = jax.grad(value)(LOGITS)
    step = 1e-3
    moved = jnp.zeros_like(LOGITS).at[1, 2].set(step)
    finite = (value(LOGITS + moved) - value(LOGITS - moved)) / (2 * step)
    np.testing.assert_allclose(gradient[1, 2], finite, atol=1e-3)


def toy(learned: bool = False) -> tuple[jvae.VAE, dict]:
    """A model whose log p(x | z) is a table: x is the example's number."""
    table = jnp.asarray(np.random.default_rng(2).normal(size=(B, K)) - 3, jnp.float32)

    def log_prob(params, z, batch, context, *, key, train):
        return jnp.sum(z * params["table"][batch.index], axis=-1)

    def apply(params, batch, context, *, key, train):
        return Categorical(params["logits"][batch.index])

    model = jvae.VAE(
        Encoder(lambda key, batch, context: {}, apply),
        Decoder(lambda key, z, batch, context: {}, log_prob),
        categorical_prior(latent_size=K, learned=learned),
    )
    prior = {"logits": jnp.linspace(-1.0, 1.0, K)} if learned else {}
    return model, {"encoder": {"logits": LOGITS}, "decoder": {"table": table}, "prior": prior}


def batch_of_numbers() -> Batch:
    return make_batch(B, 4)


@pytest.mark.parametrize("learned", [False, True])
def test_enumeration_is_the_exact_bound_and_gradient(learned):
    model, params = toy(learned)
    batch = batch_of_numbers()

    def total(params):
        terms = jvae.elbo(model, params, batch, key=KEY, train=True, estimator=jvae.enumeration)
        return jnp.sum(terms.elbo), terms

    (value, terms), gradient = jax.value_and_grad(total, has_aux=True)(params)
    q = np.exp(np.asarray(LOGITS, np.float64))
    q /= q.sum(axis=1, keepdims=True)
    prior = np.linspace(-1, 1, K) if learned else np.zeros(K)
    log_p = prior - np.log(np.exp(prior).sum())
    table = np.asarray(params["decoder"]["table"], np.float64)
    expected = np.sum(q * (table + log_p - np.log(q)), axis=1)
    np.testing.assert_allclose(terms.elbo, expected, rtol=1e-5)
    assert terms.analytic
    joint = table + log_p
    exact = np.log(np.exp(joint).sum(axis=1))
    assert np.all(expected <= exact + 1e-9)
    # d ELBO / d logits_k = q_k (a_k - sum_j q_j a_j), a = log p(x, z) - log q(z).
    a = joint - np.log(q)
    np.testing.assert_allclose(
        gradient["encoder"]["logits"],
        q * (a - np.sum(q * a, axis=1, keepdims=True)),
        atol=1e-5,
    )
    # With the true posterior the bound is the likelihood.
    best = params | {"encoder": {"logits": jnp.asarray(joint, jnp.float32)}}
    np.testing.assert_allclose(total(best)[1].elbo, exact, rtol=1e-5)


def test_importance_weights_approach_the_exact_likelihood():
    model, params = toy()
    bound, _ = jvae.iw_log_likelihood(
        model, params, batch_of_numbers(), key=KEY, num_samples=4000, chunk_size=500
    )
    table = np.asarray(params["decoder"]["table"], np.float64)
    exact = np.log(np.exp(table).sum(axis=1)) - np.log(K)
    np.testing.assert_allclose(bound, exact, atol=0.06)


def test_class_usage_by_hand():
    certain = np.eye(3)[[0, 0, 1, 1]]
    usage = class_usage(certain)
    assert usage["used"] == 2
    assert usage["share"] == [0.5, 0.5, 0.0]
    np.testing.assert_allclose([usage["effective"], usage["mi"]], [2, np.log(2)], rtol=1e-9)
    collapsed = class_usage(np.full((4, 3), 1 / 3))
    np.testing.assert_allclose([collapsed["effective"], collapsed["mi"]], [3, 0], atol=1e-9)


def test_the_family_has_one_output_for_each_class():
    family = categorical()
    assert family.size(7) == 7
    assert family.posterior(LOGITS).logits is LOGITS


@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        ({"model.prior": "standard_normal"}, "a prior over classes"),
        ({"objective.estimator": "pathwise"}, "gradients through discrete latents"),
        ({"training.aggressive": True}, "diagonal Gaussian posteriors"),
        ({"model.mode": "ae"}, "a posterior with a density"),
    ],
)
def test_what_it_needs_is_said(fields, needed):
    config = default_config()
    chosen = {
        "model.posterior": "categorical",
        "model.prior": "categorical",
        "objective.estimator": "enumeration",
    }
    config.update_from_flattened_dict(chosen)
    check(TEXT_GROUPS, config)
    config.update_from_flattened_dict(fields)
    with pytest.raises(UserError, match=needed):
        check(TEXT_GROUPS, config)
