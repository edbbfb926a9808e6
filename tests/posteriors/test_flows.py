"""Flows: densities against Jacobians and grids, masks, closed forms, and a model that uses them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.distributions import DiagonalGaussian, kl_divergence, sample_and_log_prob
from jvae.evaluation.corpus import encode
from jvae.posteriors import iaf, planar
from jvae.posteriors.flow import Flow
from jvae.posteriors.iaf import AutoregressiveStep, masks
from jvae.posteriors.planar import LEAST, planar_step
from jvae.random import sample_keys
from jvae.remedies import iwae
from tests.conftest import LATENT, VOCAB, make_batch

B = 3
RNG = np.random.default_rng(0)
FAMILIES = {"planar": planar, "iaf": iaf}
OPTIONS = {"planar": {"steps": 3}, "iaf": {"steps": 2, "hidden": 8}}
KEYS = jax.random.split(jax.random.key(0), B)


@pytest.fixture(autouse=True)
def same_numbers_in_any_order():
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def normal(*shape: int, scale: float = 1.0) -> jax.Array:
    return jnp.asarray(scale * RNG.normal(size=shape), jnp.float32)


def random_flow(name: str, size: int, scale: float = 1.0) -> Flow:
    """Of the dictionary, with outputs and parameters that bend it well."""
    family = FAMILIES[name](**OPTIONS[name])
    outputs = normal(B, family.size(size), scale=scale).at[:, size : 2 * size].multiply(0.3)
    shapes = jax.eval_shape(family.posterior.init, jax.random.key(0), outputs)
    params = jax.tree.map(lambda shape: normal(*shape.shape, scale=scale), shapes)
    return family.posterior.apply(params, outputs)


@jax.jit
def jacobians(q: Flow, z: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The image of `z` `[B, L]`, its log determinant, and the Jacobian `[B, L, L]`."""
    of_all = jax.jacfwd(lambda z: q.image(z)[0])(z)  # [B, L, B, L]
    return *q.image(z), jnp.moveaxis(jnp.diagonal(of_all, axis1=0, axis2=2), -1, 0)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_density_is_the_base_s_over_the_jacobian(name):
    q = random_flow(name, 4)
    start = q.base.sample(KEYS)
    expected_z, _, jacobian = jacobians(q, start)
    assert np.all(jacobian != 0)  # whatever the orders, each dimension moves each
    expected = q.base.log_prob(start) - np.linalg.slogdet(jacobian)[1]
    z, log_q = sample_and_log_prob(q, KEYS)
    np.testing.assert_allclose(z, expected_z, rtol=1e-5)
    np.testing.assert_allclose(log_q, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(TypeError, match="own samples"):
        q.log_prob(z)
    # Linear at the centre.
    mean, _, jacobian = jacobians(q, q.base.mean)
    covariance = np.einsum("bij,bj,bkj->bik", jacobian, np.exp(q.base.log_var), jacobian)
    np.testing.assert_allclose(q.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(
        np.exp(q.log_var), np.diagonal(covariance, axis1=1, axis2=2), rtol=1e-4
    )


@pytest.mark.parametrize("name", OPTIONS)
def test_the_density_is_differentiated_with_the_draw(name):
    family = FAMILIES[name](**OPTIONS[name])
    outputs = normal(B, family.size(4)).at[:, 4:8].multiply(0.3)
    params = jax.tree.map(lambda leaf: leaf + 0.5, family.posterior.init(KEYS[0], outputs))

    @jax.jit
    def log_q(outputs):
        return sample_and_log_prob(family.posterior.apply(params, outputs), KEYS)[1]

    direction = normal(*outputs.shape)
    _, slope = jax.jvp(log_q, (outputs,), (direction,))
    ahead, behind = (log_q(outputs + step * direction) for step in (5e-3, -5e-3))
    np.testing.assert_allclose(slope, (ahead - behind) / 1e-2, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_density_integrates_to_one_over_the_plane(name):
    """At points of a grid, traced back to the base by Newton's method."""
    q = random_flow(name, 2, scale=0.5)  # no finer than the grid
    first = jax.tree.map(lambda leaf: leaf[:1] if leaf.shape[0] == B else leaf, q)
    line = np.linspace(-8, 8, 161)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    many = jax.tree.map(  # the first sentence's flow, for every point
        lambda leaf: (
            jnp.broadcast_to(leaf, (len(grid), *leaf.shape[1:])) if leaf.shape[0] == 1 else leaf
        ),
        first,
    )
    step = jax.jit(jax.vmap(lambda z: jacobians(first, z[None])))

    def look(z: np.ndarray) -> tuple[np.ndarray, ...]:
        """How far the images miss the grid, log determinants and Jacobians."""
        image, log_det, jacobian = (np.asarray(a, np.float64)[:, 0] for a in step(jnp.float32(z)))
        return image - grid, log_det, jacobian

    z = np.broadcast_to(np.asarray(first.base.mean, np.float64), grid.shape)
    missed, log_det, jacobian = look(z)
    share = np.ones(len(grid))  # of Newton's step, halved where it leads away
    for _ in range(40):
        move = np.linalg.solve(jacobian, missed[..., None])[..., 0]
        trial = z - share[:, None] * move
        found = look(trial)
        nearer = np.sum(found[0] ** 2, axis=1) < np.sum(missed**2, axis=1)
        z = np.where(nearer[:, None], trial, z)
        missed = np.where(nearer[:, None], found[0], missed)
        log_det = np.where(nearer, found[1], log_det)
        jacobian = np.where(nearer[:, None, None], found[2], jacobian)
        share = np.where(nearer, np.minimum(1, 2 * share), share / 2)
    assert np.abs(missed).max() < 1e-3
    density = np.exp(np.asarray(many.base.log_prob(jnp.float32(z)), np.float64) - log_det)
    np.testing.assert_allclose(density.sum() * 0.1**2, 1, atol=5e-3)
    # And it bends: an affine map has one determinant everywhere.
    assert np.std(log_det[density > 1e-3]) > 0.03


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [3, 0, 4, 1, 2]])
def test_each_dimension_sees_those_before_it_and_the_sentence(order):
    size, hidden = 5, 7
    first, second = masks(np.array(order), hidden)
    inner, outer = np.asarray(normal(size, hidden)), np.asarray(normal(hidden, 2 * size))
    context, bias = normal(1, hidden), normal(2 * size)
    outer = outer * np.concatenate([second, second], axis=1)
    step = AutoregressiveStep(jnp.asarray(inner * first), context, jnp.asarray(outer), bias)
    z = normal(1, size)
    _, log_det, jacobian = jacobians(Flow(DiagonalGaussian(z, z), (step,)), z)
    ordered = np.asarray(jacobian[0])[np.ix_(order, order)]
    assert np.all(np.triu(ordered, 1) == 0)
    assert np.all(ordered[np.tril_indices(size)] != 0)
    np.testing.assert_allclose(log_det, [np.log(np.diag(ordered)).sum()], rtol=1e-5)
    moved = step._replace(context=context + 1).forward(z)[0] - step.forward(z)[0]
    assert np.all(moved != 0)  # the first dimension, which sees no other, too


def test_an_affine_step_makes_a_gaussian_of_a_gaussian():
    """Without weights an autoregressive step scales by its gates; closed forms are at hand."""
    size, count = 4, 4000
    base = DiagonalGaussian(normal(B, size), normal(B, size, scale=0.5))
    shift, logit = normal(size), normal(size)
    nothing = jnp.zeros((size, 6)), jnp.zeros((B, 6)), jnp.zeros((6, 2 * size))
    q = Flow(base, (AutoregressiveStep(*nothing, jnp.concatenate([shift, logit])),))
    gate = jax.nn.sigmoid(logit + 2)
    same = DiagonalGaussian(gate * base.mean + (1 - gate) * shift, base.log_var + 2 * jnp.log(gate))
    z, log_q = jax.jit(jax.vmap(partial(sample_and_log_prob, q)))(
        sample_keys(KEYS, jnp.arange(count))
    )
    np.testing.assert_allclose(log_q, same.log_prob(z), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(q.mean, same.mean, rtol=1e-5)
    np.testing.assert_allclose(q.log_var, same.log_var, rtol=1e-4, atol=1e-5)
    # Its KL is estimated, and the estimate has the closed form as its mean.
    p = DiagonalGaussian(jnp.zeros((1, size)), jnp.zeros((1, size)))
    estimate, analytic = kl_divergence(q, p, z, log_q)
    exact = jnp.sum(kl_divergence(same, p, None)[0], axis=1)
    error = np.std(log_q - p.log_prob(z), axis=0) / np.sqrt(count)
    assert not analytic and np.all(np.abs(estimate - exact) < 4 * error)


def test_steps_that_move_nothing_leave_the_diagonal_gaussian():
    size = 4
    base = DiagonalGaussian(normal(B, size), normal(B, size))
    flat = planar_step(jnp.zeros((B, size)), normal(B, size), normal(B))
    nothing = jnp.zeros((size, 6)), normal(B, 6), jnp.zeros((6, 2 * size))
    still = AutoregressiveStep(*nothing, jnp.full(2 * size, 30.0))
    for step in (flat, still):
        q = Flow(base, (step, step))
        z, log_q = sample_and_log_prob(q, KEYS)
        np.testing.assert_allclose(z, base.sample(KEYS), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(log_q, base.log_prob(z), rtol=1e-5)
        np.testing.assert_allclose(q.log_var, base.log_var, rtol=1e-5, atol=1e-5)


def test_a_planar_step_never_folds():
    size = 3
    w = normal(200, size, scale=3.0)
    u = jnp.concatenate([-2 * w[:100], normal(100, size, scale=3.0)])
    step = planar_step(u, w, normal(200))
    asked, got = jnp.sum(u * w, axis=-1), jnp.sum(step.u * step.w, axis=-1)
    assert np.min(asked) < -10 and np.all(got > -0.995)
    wide = asked > 12  # softplus(x + c) - 0.99 = x + log(e^0.99 - 1) - 0.99 there
    np.testing.assert_allclose(got[wide] - asked[wide], np.log(np.expm1(-LEAST)) + LEAST, atol=1e-3)
    across = step.u - u  # along w alone
    parallel = jnp.sum(across * w, axis=-1, keepdims=True) * w / jnp.sum(w**2, -1, keepdims=True)
    np.testing.assert_allclose(across, parallel, atol=1e-4)


@pytest.mark.slow
def test_a_model_learns_every_parameter_and_weighs_its_own_draws():
    """An LSTM encoder over a decoder without words: little to compile."""
    batch, key = make_batch(4, 6), jax.random.key(1)
    sizes = {"vocab_size": VOCAB, "latent_size": LATENT, "embed_size": 5, "hidden_size": 7}
    family = iaf(**OPTIONS["iaf"])
    encoder = jvae.lstm_encoder(**sizes, family=family, init_scale=0.5)

    def log_prob(params, z, batch, context, *, key, train):
        return -jnp.sum(jnp.square(z - params), axis=-1)

    decoder = jvae.Decoder(lambda key, z, batch, context: jnp.ones(()), log_prob)
    model = jvae.VAE(encoder, decoder, jvae.standard_normal(latent_size=LATENT))

    @jax.jit
    def run(batch):
        params = jvae.init(model, batch, key=key)

        def loss(params):
            terms = jvae.elbo(model, params, batch, key=key, train=True)
            return -jnp.sum(terms.elbo), terms

        (_, terms), grads = jax.value_and_grad(loss, has_aux=True)(params)
        weights = jvae.importance_weights(
            model, params, batch, key=key, num_samples=3, chunk_size=3
        )
        bound = iwae(model, params, batch, key=key, num_samples=3, train=False).bound
        return grads, terms, weights, bound, encode(model, params, batch, key=key)

    grads, terms, weights, bound, encoded = run(batch)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(grads))
    # The first weight is the ELBO of one sample, the bound that of all of them.
    assert not terms.analytic and terms.total_kl.shape == (4,)
    np.testing.assert_allclose(weights[0], terms.elbo, rtol=1e-4)
    np.testing.assert_allclose(bound, np.log(np.mean(np.exp(weights), axis=0)), rtol=1e-4)
    assert encoded.kl.shape == (4, 1) and encoded.mean.shape == (4, LATENT)
    wide = batch.replace(x=batch.x.resized(batch.x.inputs.shape[1] + 3))
    np.testing.assert_allclose(run(wide)[2], weights, rtol=1e-4)
