"""Refined posteriors, on the model whose own posterior is known and on a tiny LSTM VAE."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.evaluation.corpus import encode
from jvae.objectives.elbo import latent_keys
from jvae.random import Stream, sample_keys, stream
from jvae.remedies import semi_amortised
from tests.conftest import make_batch, make_model
from tests.test_linear_gaussian import (
    BATCH,
    BIAS,
    DATA,
    MODEL,
    ORTHOGONAL,
    SCALE,
    Gaussian,
    expected_log_likelihood,
    gaussian_kl,
    log_evidence,
    make_params,
    posterior,
    wrong,
)

KEY = jax.random.key(0)
PARAMS = make_params(wrong(ORTHOGONAL), ORTHOGONAL)
NO_CLIP = {"momentum": 0.0, "clip_norm": 1e6}


def exact_elbo(mean: np.ndarray, log_var: np.ndarray) -> np.ndarray:
    q = Gaussian(mean, np.exp(log_var)[:, :, None] * np.eye(2))
    standard = Gaussian(np.zeros_like(mean), np.broadcast_to(np.eye(2), (len(mean), 2, 2)))
    return expected_log_likelihood(ORTHOGONAL, q) - gaussian_kl(q, standard)


def test_two_steps_are_those_by_hand():
    """With momentum, and a clip that acts on some sentences only."""
    rate, momentum, clip = 0.05, 0.5, 3.0
    model = semi_amortised(MODEL, steps=2, learning_rate=rate, momentum=momentum, clip_norm=clip)
    found = jax.jit(partial(model.infer, train=False))(PARAMS, BATCH, key=KEY).posterior
    start = wrong(ORTHOGONAL)
    mean, log_var = start.mean, np.log(np.diagonal(start.covariance, axis1=1, axis2=2))
    speeds, clipped = [np.zeros_like(mean), np.zeros_like(mean)], []
    unit = jvae.DiagonalGaussian(jnp.zeros(mean.shape), jnp.zeros(mean.shape))
    for number in range(2):
        keys = latent_keys(stream(KEY, Stream.REFINEMENT, number), BATCH)
        noise = np.asarray(unit.sample(sample_keys(keys, jnp.arange(1))[0]), np.float64)
        deviation = np.exp(log_var / 2)
        by_z = (DATA - BIAS - (mean + deviation * noise) @ ORTHOGONAL.T) @ ORTHOGONAL / SCALE**2
        by_log_var = 0.5 * (by_z * deviation * noise - np.exp(log_var) + 1)
        for which, gradient in enumerate((by_z - mean, by_log_var)):
            length = np.linalg.norm(gradient, axis=1, keepdims=True)
            clipped.append(length[:, 0] > clip)
            gradient = gradient * np.minimum(1, clip / length)
            speeds[which] = momentum * speeds[which] + gradient
        mean, log_var = mean + rate * speeds[0], log_var + rate * speeds[1]
    assert np.any(clipped) and not np.all(clipped)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-4)
    np.testing.assert_allclose(found.log_var, log_var, rtol=1e-4)


def test_the_steps_of_training_see_what_training_sees():
    """A decoder that says `sum z` more of its words while it trains: dropout, without chance."""

    def log_prob(params, z, batch, context, *, key, train):
        plain = MODEL.decoder.log_prob(params, z, batch, context, key=key, train=train)
        return plain + train * jnp.sum(z, -1)

    other = MODEL._replace(decoder=MODEL.decoder._replace(log_prob=log_prob))
    model = semi_amortised(other, steps=1, learning_rate=0.1, **NO_CLIP)
    evaluated, trained = (
        model.infer(PARAMS, BATCH, key=KEY, train=t).posterior.mean for t in (False, True)
    )
    np.testing.assert_allclose(trained - evaluated, np.full(trained.shape, 0.1), rtol=1e-3)


def test_small_steps_raise_the_bound_until_the_posterior_is_exact():
    """The bound is the closed form's; independent noise is averaged away over keys."""
    keys = jax.random.split(KEY, 100)
    start = wrong(ORTHOGONAL)

    def after(steps: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
        model = semi_amortised(MODEL, steps=steps, learning_rate=rate, **NO_CLIP)
        infer = partial(model.infer, PARAMS, BATCH, train=False)
        q = jax.jit(jax.vmap(lambda key: infer(key=key).posterior))(keys)
        return np.asarray(q.mean, np.float64), np.asarray(q.log_var, np.float64)

    exact = posterior(ORTHOGONAL)
    variances = np.diagonal(exact.covariance, axis1=1, axis2=2)
    bounds = [exact_elbo(start.mean, np.log(np.diagonal(start.covariance, axis1=1, axis2=2)))]
    for steps in (4, 32, 600):
        mean, log_var = after(steps, 0.01)
        bounds.append(np.mean([exact_elbo(*q) for q in zip(mean, log_var, strict=True)], axis=0))
    assert np.all(np.diff(bounds, axis=0) > 0)
    assert np.all(log_evidence(ORTHOGONAL) - bounds[0] > 0.05)
    np.testing.assert_allclose(bounds[-1], log_evidence(ORTHOGONAL), atol=0.03)
    np.testing.assert_allclose(mean.mean(axis=0), exact.mean, atol=0.03)
    np.testing.assert_allclose(log_var.mean(axis=0), np.log(variances), atol=0.05)


def test_importance_weights_and_evaluation_take_the_refined_posterior():
    model = semi_amortised(MODEL, steps=3, learning_rate=0.05, **NO_CLIP)
    q = jax.jit(partial(model.infer, train=False))(PARAMS, BATCH, key=KEY).posterior
    encoder = {"mean": q.mean, "log_var": q.log_var}
    assert np.all(np.abs(q.mean - PARAMS["encoder"]["mean"]) > 1e-3)
    given = PARAMS | {"encoder": encoder}  # the plain model with that posterior from the start

    @partial(jax.jit, static_argnums=0)
    def evaluate(model, params):
        weigh = partial(jvae.importance_weights, num_samples=4, chunk_size=2)
        return [of(model, params, BATCH, key=KEY) for of in (weigh, encode)]

    (found, terms), (expected, its) = evaluate(model, PARAMS), evaluate(MODEL, given)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4), terms, its)


@pytest.mark.slow
def test_a_language_vae_is_differentiated_through_its_steps():
    """Second derivatives of the real layers; neither padding nor other sentences matter."""
    model = semi_amortised(make_model(), steps=2, learning_rate=0.2, momentum=0.5, clip_norm=0.4)
    batch = make_batch(3, 5)
    params = jax.jit(partial(jvae.init, model))(batch, key=KEY)

    @jax.jit
    def run(params, batch):
        def total(params):
            terms = jvae.elbo(model, params, batch, key=KEY)
            return jnp.sum(terms.elbo * batch.weight), terms.elbo

        return jax.value_and_grad(total, has_aux=True)(params)

    (_, elbos), grads = run(params, batch)
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), params)

    def at(distance: float) -> float:
        moved = jax.tree.map(lambda x, d: x + distance * d, params, direction)
        return float(run(moved, batch)[0][0])

    slope = (at(2e-3) - at(-2e-3)) / 4e-3
    along = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, grads, direction)))
    np.testing.assert_allclose(along, slope, rtol=1e-2)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(grads))
    # What stands behind </s>, order, and a row that only fills the batch up.
    behind = jnp.arange(batch.x.ids.shape[1]) > batch.x.lengths[:, None]
    assert jnp.any(behind)
    filled = batch.replace(x=jvae.Tokens(jnp.where(behind, 7, batch.x.ids), batch.x.lengths))
    np.testing.assert_allclose(run(params, filled)[0][1], elbos, rtol=1e-5)
    other = jax.tree.map(lambda field: field[::-1], batch)
    x = jvae.Tokens(other.x.ids.at[0].set(5), other.x.lengths)
    other = other.replace(weight=jnp.array([0.0, 1.0, 1.0]), x=x)
    (_, again), finite = run(params, other)
    np.testing.assert_allclose(again[1:], elbos[:2][::-1], rtol=1e-5)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(finite))


def test_equal_sentences_have_equal_means_wherever_they_stand():
    from jvae.tasks.text import use
    from jvae.tasks.text.config import default_config
    from jvae.tasks.text.model import make_model

    config = default_config()
    config.model.update({"latent_size": 3, "embed_size": 4, "hidden_size": 5, "init_scale": 0.5})
    config.model.refine = "semi_amortised"
    config.model.semi_amortised.steps = 2
    model, key = make_model(config, 9), jax.random.key(0)
    assert model.refine is not None
    batch = jvae.text_batch([[1, 5, 6, 2]] * 2)
    params = jax.jit(partial(jvae.init, model))(batch, key=key)
    mean = use._encoder(model)(params, batch, key=key)[0]
    assert jnp.array_equal(mean[0], mean[1])
