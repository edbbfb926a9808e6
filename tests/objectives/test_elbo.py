"""The ELBO: its KL, what it counts, and all that must change no number."""

import warnings
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.batch import Batch
from jvae.objectives.elbo import latent_keys
from jvae.random import example_keys, sample_keys
from jvae.types import Array
from tests.conftest import VOCAB, make_batch, make_model

MODEL = make_model(dropout_in=0.5, dropout_out=0.3, word_dropout=0.3)
BATCH = make_batch(6, 8)
KEY = jax.random.key(8)


def random_params(model: jvae.VAE, scale: float = 0.5, seed: int = 0):
    """Weights in U(-scale, scale), without compiling the initialisers."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda key: jvae.init(model, BATCH, key=key), KEY)
    return jax.tree.map(lambda s: jnp.asarray(rng.uniform(-scale, scale, s.shape), s.dtype), shapes)


PARAMS = random_params(MODEL)


@partial(jax.jit, static_argnames="train")
def compiled(params, batch: Batch, key, train: bool) -> jvae.ELBOTerms:
    return jvae.elbo(MODEL, params, batch, key=key, train=train, num_samples=2)


def elbo(params, batch: Batch, *, key=KEY, train: bool = True) -> jvae.ELBOTerms:
    """With all noise on unless told otherwise: the harder case."""
    return compiled(params, batch, key, train)


def take(batch: Batch, rows) -> Batch:
    return jax.tree.map(lambda field: field[jnp.asarray(rows)], batch)


def pad(batch: Batch, more: int, token: int = 0) -> Batch:
    padding = jnp.full((batch.x.ids.shape[0], more), token, batch.x.ids.dtype)
    return batch.replace(
        x=jvae.Tokens(jnp.concatenate([batch.x.ids, padding], axis=1), batch.x.lengths)
    )


def assert_same(terms, expected, rows=slice(None)):
    np.testing.assert_allclose(terms.log_likelihood, expected.log_likelihood[rows], rtol=1e-5)
    np.testing.assert_allclose(terms.kl["latent"], expected.kl["latent"][rows], atol=1e-5)


# What must change no number.


@pytest.mark.parametrize("train", [False, True])
def test_a_wider_bucket_changes_nothing(train):
    terms = elbo(PARAMS, BATCH, train=train)
    assert_same(elbo(PARAMS, pad(BATCH, 4), train=train), terms)
    assert_same(elbo(PARAMS, pad(BATCH, 4, token=7), train=train), terms)


def test_the_order_of_the_batch_changes_nothing():
    rows = [3, 0, 5, 1, 4, 2]
    assert_same(elbo(PARAMS, take(BATCH, rows)), elbo(PARAMS, BATCH), np.asarray(rows))


@pytest.mark.smoke
def test_splitting_and_padding_rows_change_no_sum():
    whole = elbo(PARAMS, BATCH)
    total = 0.0
    for rows in ([0, 1, 2, 0, 1, 2], [3, 4, 5, 3, 4, 5]):
        filled = take(BATCH, rows).replace(weight=jnp.asarray([1.0, 1, 1, 0, 0, 0]))
        terms = elbo(PARAMS, filled)
        assert_same(terms, whole, np.asarray(rows))
        total += float(jnp.sum(terms.elbo * filled.weight))
    np.testing.assert_allclose(total, float(jnp.sum(whole.elbo * BATCH.weight)), rtol=1e-5)


def test_the_other_sentences_of_the_batch_change_nothing():
    other = make_batch(6, 8, seed=9)
    mixed = jax.tree.map(lambda ours, theirs: theirs.at[2].set(ours[2]), BATCH, other)
    mixed = mixed.replace(index=jnp.asarray([11, 12, 2, 14, 15, 16], jnp.int32))
    assert_same(take(elbo(PARAMS, mixed), [2]), take(elbo(PARAMS, BATCH), [2]))


def test_the_noise_follows_the_index_and_the_key():
    terms = elbo(PARAMS, BATCH)
    moved = elbo(PARAMS, BATCH.replace(index=BATCH.index + 6))
    rekeyed = elbo(PARAMS, BATCH, key=jax.random.key(9))
    for other in (moved, rekeyed):
        assert np.all(np.abs(other.log_likelihood - terms.log_likelihood) > 1e-4)
        np.testing.assert_allclose(other.kl["latent"], terms.kl["latent"], rtol=1e-6)


@pytest.mark.smoke
def test_jit_changes_nothing():
    eager = jvae.elbo(MODEL, PARAMS, BATCH, key=KEY, num_samples=2, train=False)
    assert_same(eager, elbo(PARAMS, BATCH, train=False))


def test_noise_acts_in_training():
    difference = (
        elbo(PARAMS, BATCH).log_likelihood - elbo(PARAMS, BATCH, train=False).log_likelihood
    )
    assert np.all(np.abs(difference) > 1e-4)


def test_nothing_is_nan_far_from_the_origin():
    for params in (PARAMS, random_params(MODEL, scale=20.0)):
        for train in (False, True):
            terms = elbo(params, BATCH, train=train)
            assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(terms))


# What it counts.


def test_reconstruction_counts_the_words_and_the_end_but_neither_start_nor_padding():
    """With a zero output layer each predicted token costs log V."""
    uniform = {**PARAMS["decoder"], "output_kernel": jnp.zeros((7, VOCAB))}
    for train in (False, True):
        terms = elbo({**PARAMS, "decoder": uniform}, BATCH, train=train)
        words = np.sum(np.asarray(BATCH.x.ids) >= 4, axis=1)
        np.testing.assert_allclose(-terms.log_likelihood, (words + 1) * np.log(VOCAB), rtol=1e-5)


class Laplace(NamedTuple):
    """A prior family without a closed form."""

    scale: Array

    def sample(self, keys):
        raise AssertionError("not part of these tests")

    def log_prob(self, z: Array) -> Array:
        return jnp.sum(-jnp.abs(z) / self.scale - jnp.log(2 * self.scale), axis=-1)


def fixed_model(q, p) -> jvae.VAE:
    """The distributions themselves as a model; every reconstruction is -3 nats."""

    def log_prob(params, z, batch: Batch, context, *, key, train: bool) -> Array:
        return jnp.full(batch.rows, -3.0) + 0 * z[:, 0]

    return jvae.VAE(
        jvae.Encoder(lambda *_: {}, lambda params, batch, context, *, key, train: q),
        jvae.Decoder(lambda *_: {}, log_prob),
        jvae.Prior(lambda key: {}, lambda params, context: p),
    )


NOTHING = {"encoder": {}, "decoder": {}, "prior": {}}
# Two dimensions: KL 0.5 and 2, then 0 and (4 - 1 - log 4) / 2.
Q = jvae.DiagonalGaussian(
    jnp.asarray([[1.0, -2.0], [0.0, 0.0]]), jnp.asarray([[0.0, 0.0], [0.0, jnp.log(4.0)]])
)
P = jvae.DiagonalGaussian(jnp.zeros((1, 2)), jnp.zeros((1, 2)))
PAIR = make_batch(2, 4)


@pytest.mark.smoke
def test_the_kl_is_summed_over_dimensions_and_nothing_is_divided():
    terms = jax.jit(lambda: jvae.elbo(fixed_model(Q, P), NOTHING, PAIR, key=KEY))()
    by_dimension = [[0.5, 2.0], [0.0, 0.5 * (3 - np.log(4))]]
    assert terms.analytic
    np.testing.assert_allclose(terms.kl["latent"], by_dimension, rtol=1e-6)
    np.testing.assert_allclose(terms.total_kl, [2.5, 0.5 * (3 - np.log(4))], rtol=1e-6)
    np.testing.assert_allclose(terms.elbo, [-5.5, -3 - 0.5 * (3 - np.log(4))], rtol=1e-6)


def test_named_kl_terms_of_any_shape_add_up():
    kl = {"latent": jnp.ones((2, 3)), "other": jnp.asarray([1.0, 2.0])}
    terms = jvae.ELBOTerms(jnp.asarray([-1.0, -2.0]), kl)
    np.testing.assert_array_equal(terms.total_kl, [4.0, 5.0])
    np.testing.assert_array_equal(terms.elbo, [-5.0, -7.0])
    np.testing.assert_array_equal(jvae.ELBOTerms(jnp.ones(2), {}).total_kl, [0.0, 0.0])


def random_gaussians(rows: int, size: int) -> tuple[jvae.DiagonalGaussian, jvae.DiagonalGaussian]:
    """A posterior over `[rows, size]` and a prior over `[1, size]`."""
    q = np.random.default_rng(0).normal(size=(2, rows, size)).astype(np.float32)
    p = np.random.default_rng(1).normal(size=(2, 1, size)).astype(np.float32)
    return jvae.DiagonalGaussian(*map(jnp.asarray, q)), jvae.DiagonalGaussian(*map(jnp.asarray, p))


@pytest.mark.smoke
def test_the_closed_form_is_that_of_numpyro():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from numpyro.distributions import Normal, kl_divergence

        q, p = random_gaussians(5, 3)
        ours, analytic = jvae.kl_divergence(q, p, jnp.zeros((1, 5, 3)))
        theirs = kl_divergence(*(Normal(d.mean, jnp.exp(d.log_var / 2)) for d in (q, p)))
    assert analytic
    assert ours.shape == (5, 3)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_tiny_kl_keeps_its_digits():
    """Near collapse var - 1 - log var cancels in float32."""
    q = jvae.DiagonalGaussian(jnp.asarray([[1e-4, 0.0]]), jnp.asarray([[0.0, 1e-3]]))
    ours, _ = jvae.kl_divergence(q, P, jnp.zeros((1, 1, 2)))
    log_var = np.asarray(q.log_var, np.float64)[0, 1]
    expected = [0.5e-8, 0.5 * (np.expm1(log_var) - log_var)]
    np.testing.assert_allclose(ours[0], expected, rtol=1e-3)
    assert np.all(np.asarray(ours) >= 0)


@pytest.mark.parametrize("family", ["gaussian", "laplace"])
def test_the_kl_is_that_of_monte_carlo(family):
    """The closed form, and the sample estimate of a pair without one, against integration."""
    q, gaussian = random_gaussians(2, 2)
    p = gaussian if family == "gaussian" else Laplace(jnp.asarray([0.7, 1.5]))
    samples = 20_000

    @jax.jit
    def run():
        terms = jvae.elbo(fixed_model(q, p), NOTHING, PAIR, key=KEY, num_samples=samples)
        keys = sample_keys(latent_keys(KEY, PAIR), jnp.arange(samples))
        z = jax.vmap(q.sample)(keys)
        return terms, z

    terms, z = run()
    z = np.asarray(z, np.float64)
    mean, log_var = (np.asarray(field, np.float64) for field in q)
    log_q = -0.5 * np.sum((z - mean) ** 2 / np.exp(log_var) + log_var + np.log(2 * np.pi), axis=-1)
    if family == "gaussian":
        m, v = (np.asarray(field, np.float64) for field in p)
        log_p = -0.5 * np.sum((z - m) ** 2 / np.exp(v) + v + np.log(2 * np.pi), axis=-1)
    else:
        scale = np.asarray(p.scale, np.float64)
        log_p = np.sum(-np.abs(z) / scale - np.log(2 * scale), axis=-1)
    ratios = log_q - log_p
    standard_error = ratios.std(axis=0) / np.sqrt(samples)
    assert terms.analytic == (family == "gaussian")
    assert terms.kl["latent"].shape == ((2, 2) if terms.analytic else (2,))
    if terms.analytic:
        assert np.all(np.abs(terms.total_kl - ratios.mean(axis=0)) < 4 * standard_error)
    else:
        np.testing.assert_allclose(terms.total_kl, ratios.mean(axis=0), rtol=1e-4)
        # E|z| of a Gaussian in closed form, by quadrature.
        grid = np.linspace(-12, 12, 4001)
        density = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi)
        points = mean[..., None] + np.exp(log_var / 2)[..., None] * grid
        absolute = np.sum(np.abs(points) * density, axis=-1) * (grid[1] - grid[0])
        entropy = 0.5 * np.sum(log_var + np.log(2 * np.pi * np.e), axis=-1)
        exact = -entropy + np.sum(absolute / scale + np.log(2 * scale), axis=-1)
        assert np.all(np.abs(terms.total_kl - exact) < 4 * standard_error)


def test_a_point_posterior_has_no_kl_and_no_density():
    q = jvae.Delta(Q.mean)
    terms = jvae.elbo(fixed_model(q, P), NOTHING, PAIR, key=KEY)
    np.testing.assert_array_equal(terms.kl["latent"], np.zeros((2, 2)))
    np.testing.assert_array_equal(q.sample(example_keys(KEY, PAIR.index)), Q.mean)
    assert np.all(np.asarray(q.log_var) == -np.inf)
    with pytest.raises(TypeError, match="point mass"):
        q.log_prob(Q.mean)
    with pytest.raises(TypeError, match="point mass"):
        jvae.importance_weights(
            fixed_model(q, P), NOTHING, PAIR, key=KEY, num_samples=2, chunk_size=2
        )


# Its gradient.


def test_the_encoder_gradient_is_that_of_finite_differences():
    """With the noise fixed the ELBO is a function; along random directions, in float64."""
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), PARAMS)

        @jax.jit
        def value_and_grad(encoder):
            def total(encoder):
                terms = jvae.elbo(
                    MODEL,
                    {**params, "encoder": encoder},
                    BATCH,
                    key=KEY,
                    num_samples=2,
                    train=True,
                )
                return jnp.sum(terms.elbo)

            return jax.value_and_grad(total)(encoder)

        _, grad = value_and_grad(params["encoder"])
        assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(grad))
        assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(grad))
        size = 1e-5
        for _ in range(4):
            direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), grad)
            ends = [
                value_and_grad(
                    jax.tree.map(
                        lambda p, d, s=sign: p + s * size * d, params["encoder"], direction
                    )
                )[0]
                for sign in (1, -1)
            ]
            along = sum(
                np.sum(np.asarray(g) * d)
                for g, d in zip(jax.tree.leaves(grad), jax.tree.leaves(direction), strict=True)
            )
            np.testing.assert_allclose(along, (ends[0] - ends[1]) / (2 * size), rtol=1e-6)


def test_a_language_model_has_no_kl():
    """L = 0: the ELBO is log p(x), without noise."""
    model = jvae.VAE(
        jvae.no_encoder(), make_model(latent_size=0).decoder, jvae.standard_normal(latent_size=0)
    )
    params = random_params(model)
    assert params["encoder"] == {}

    @jax.jit
    def run(params, key):
        exact = model.decoder.log_prob(
            params["decoder"], jnp.zeros((6, 0)), BATCH, key=None, train=False
        )
        return jvae.elbo(model, params, BATCH, key=key), exact

    terms, exact = run(params, KEY)
    np.testing.assert_array_equal(terms.total_kl, np.zeros(6))
    np.testing.assert_allclose(terms.elbo, exact, rtol=1e-6)
    assert terms.kl["latent"].shape == (6, 0)
    np.testing.assert_array_equal(run(params, jax.random.key(99))[0].elbo, terms.elbo)
