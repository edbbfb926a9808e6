"""Posterior families in a whole text VAE: bounds that agree, gradients, padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.posteriors import full, planar, vmf
from tests.conftest import LATENT, VOCAB, make_batch

FAMILIES = {
    "full": (full(), "standard_normal"),
    "vmf": (vmf(kappa=4.0), "uniform_sphere"),
    "planar": (planar(steps=2), "standard_normal"),
}
BATCH, SAMPLES = make_batch(4, 6), 400
KEY = jax.random.key(2)


@pytest.mark.parametrize("name", FAMILIES)
def test_elbo_and_importance_weights_agree_and_a_step_is_finite(name):
    family, prior = FAMILIES[name]
    sizes = {"vocab_size": VOCAB, "latent_size": LATENT, "embed_size": 5, "hidden_size": 7}
    scales = {"init_scale": 0.5, "embed_init_scale": 0.5}
    model = jvae.VAE(
        jvae.lstm_encoder(**sizes, **scales, family=family),
        jvae.lstm_decoder(**sizes, **scales),
        getattr(jvae, prior)(latent_size=LATENT),
    )
    shapes = jax.eval_shape(lambda key: jvae.init(model, BATCH, key=key), KEY)
    rng = np.random.default_rng(11)
    params = jax.tree.map(lambda s: jnp.asarray(rng.uniform(-1.2, 1.2, s.shape), s.dtype), shapes)
    params["encoder"]["head"]["kernel"] *= 2  # posteriors far from the prior

    @jax.jit
    def run(params, batch):
        def loss(params):
            terms = jvae.elbo(model, params, batch, key=KEY, num_samples=SAMPLES)
            return -jnp.sum(terms.elbo), terms

        (_, terms), grads = jax.value_and_grad(loss, has_aux=True)(params)
        weighed = jvae.iw_log_likelihood(
            model, params, batch, key=KEY, num_samples=SAMPLES, chunk_size=SAMPLES
        )
        return terms, grads, weighed

    terms, grads, (bound, log_weights) = run(params, BATCH)
    for leaf in jax.tree.leaves((terms, grads, bound)):
        assert np.all(np.isfinite(leaf))
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(grads))
    # The weights are of the same draws: what they have in the KL's place is its mean by densities.
    by_densities = terms.log_likelihood - np.mean(log_weights, axis=0)
    error = 1e-4
    if terms.analytic:
        ratios = terms.posterior.log_prob(terms.z)
        ratios -= model.prior.apply(params, None).log_prob(terms.z)
        error = np.std(ratios, axis=0) / np.sqrt(SAMPLES)
    assert terms.analytic == (name != "planar")
    assert np.all(np.abs(by_densities - terms.total_kl) < 4 * error)
    assert np.all(bound > terms.elbo - 4 * error) and np.mean(bound - terms.elbo) > 0.3
    # The step leads uphill.
    stepped = jax.tree.map(lambda leaf, grad: leaf - 1e-3 * grad, params, grads)
    assert np.sum(run(stepped, BATCH)[0].elbo) > np.sum(terms.elbo)
    # What stands behind </s> is read by nobody.
    outside = np.arange(BATCH.x.ids.shape[1]) > BATCH.x.lengths[:, None]
    assert np.any(outside)
    other = BATCH.replace(x=jvae.Tokens(jnp.where(outside, 7, BATCH.x.ids), BATCH.x.lengths))
    again = run(params, other)
    np.testing.assert_allclose(again[0].elbo, terms.elbo, rtol=1e-5)
    np.testing.assert_allclose(again[2][0], bound, rtol=1e-5)
