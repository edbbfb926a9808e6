"""What the richer posteriors are for: fitted where a diagonal Gaussian falls short."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jvae
from jvae.distributions import sample_and_log_prob
from jvae.posteriors import DIAGONAL, Family, full, iaf, planar
from jvae.remedies import stick_the_landing
from tests.test_linear_gaussian import (
    BATCH,
    CORRELATED,
    LATENT,
    MODEL,
    N,
    log_evidence,
    posterior,
    within,
)

INIT, TRAIN, FRESH = jax.random.split(jax.random.key(8), 3)


def fitted(loss, params, *, steps: int, learning_rate: float):
    """Adam on `(params, key) -> loss`, its rate falling to 0, in one compiled program."""
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def update(carry, key):
        params, state = carry
        updates, state = optimiser.update(jax.grad(loss)(params, key), state)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def run(params):
        start = params, optimiser.init(params)
        return jax.lax.scan(update, start, jax.random.split(TRAIN, steps))[0][0]

    return run(params)


@pytest.mark.parametrize("family", [full(), DIAGONAL], ids=["full", "diagonal"])
def test_the_full_gaussian_reaches_a_correlated_posterior_and_the_diagonal_one_does_not(family):
    """The best diagonal one has the precision's diagonal P: its KL is `(sum log P_ll - log |P|)/2`.

    A log weight has the ELBO as its mean; of the exact posterior each one is log p(x).
    """

    def encode(outputs, batch, context, *, key, train):
        return family.posterior(outputs[batch.index])

    encoder = jvae.Encoder(MODEL.encoder.init, encode)
    model = MODEL._replace(encoder=encoder)
    trained = MODEL._replace(encoder=stick_the_landing(encoder))
    decoder = {"decoder": jnp.asarray(CORRELATED, jnp.float32), "prior": {}}

    def loss(outputs, key):
        params = decoder | {"encoder": outputs}
        return -jnp.sum(jvae.elbo(trained, params, BATCH, key=key, num_samples=16, train=True).elbo)

    outputs = jnp.zeros((N, family.size(LATENT)))
    outputs = fitted(loss, outputs, steps=500, learning_rate=0.05)
    weigh = partial(jvae.importance_weights, model, key=FRESH, num_samples=4000, chunk_size=4000)
    weights = jax.jit(lambda params: weigh(params, BATCH))(decoder | {"encoder": outputs})
    evidence = log_evidence(CORRELATED)
    if family is not DIAGONAL:
        np.testing.assert_allclose(weights, np.broadcast_to(evidence, weights.shape), atol=2e-4)
        return
    precision = np.linalg.inv(posterior(CORRELATED).covariance)
    logs = np.log(np.diagonal(precision, axis1=1, axis2=2)).sum(axis=1)
    gap = 0.5 * (logs - np.linalg.slogdet(precision)[1])
    assert np.all(gap > 0.1)
    assert within(gap, evidence - weights)


def bent(z):
    """`z_1 ~ N(0, 1)`, `z_2 ~ N(z_1^2, 1/4)`: a banana; its log density."""
    normal = jax.scipy.stats.norm.logpdf
    return normal(z[:, 0]) + normal(z[:, 1], jnp.square(z[:, 0]), 0.5)


def gap_to_bent(family: Family) -> tuple[float, float]:
    """What a fitted posterior's bound lacks of `log 1`, and its standard error."""
    outputs, posterior = jnp.zeros((1, family.size(2))), family.posterior
    if family is DIAGONAL:
        own, apply = {}, lambda own, outputs: posterior(outputs)
    else:
        own, apply = posterior.init(INIT, outputs), posterior.apply

    def log_ratios(params, keys):
        own, outputs = params
        q = apply(own, jnp.broadcast_to(outputs, (len(keys), outputs.shape[1])))
        z, log_q = sample_and_log_prob(q, keys)
        return bent(z) - (q.log_prob(z) if log_q is None else log_q)

    def loss(params, key):
        return -jnp.mean(log_ratios(params, jax.random.split(key, 64)))

    params = fitted(loss, (own, outputs), steps=600, learning_rate=0.1)
    values = np.asarray(jax.jit(log_ratios)(params, jax.random.split(FRESH, 4000)))
    return -values.mean(), values.std() / np.sqrt(len(values))


def test_flows_bend_where_their_gaussian_base_cannot():
    """At least half of what the base lacks is won, and no more than there is.

    The base at its best has the mean `(0, v)` and the variances v and 1/4, `16 v^2 + v - 1 = 0`.
    """
    v = (np.sqrt(65) - 1) / 32
    least = 0.5 * (v - 1 - np.log(v)) + 4 * v**2
    base, error = gap_to_bent(DIAGONAL)
    assert abs(base - least) < 4 * error and error < 0.02
    for family in (planar(steps=8), iaf(steps=1, hidden=16)):
        gap, error = gap_to_bent(family)
        assert -4 * error < gap < least / 2 - 4 * error, family
