"""The bag-of-words term: its equation, where it acts, and where it must not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.remedies import bag_of_words_loss, with_bag_of_words
from jvae.remedies.kl_schedules import constant
from tests.conftest import VOCAB, make_batch, make_model

KEY = jax.random.key(3)
BATCH = make_batch(4, 6)
PLAIN = make_model()
MODEL = PLAIN._replace(decoder=with_bag_of_words(PLAIN.decoder, vocab_size=VOCAB, hidden_size=5))


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: jvae.init(MODEL, BATCH, key=key), KEY)
    return jax.tree.map(lambda s: jnp.asarray(rng.uniform(-0.8, 0.8, s.shape), s.dtype), shapes)


@pytest.fixture(scope="module")
def terms(params):
    return jax.jit(partial(jvae.elbo, MODEL, num_samples=3, train=True))(params, BATCH, key=KEY)


def test_the_term_is_a_sum_over_the_words_of_a_softmax_of_z(params):
    z = np.random.default_rng(1).normal(size=(4, 3))
    head = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64), params["decoder"]["bag_of_words"]
    )
    found = MODEL.decoder.auxiliary(params["decoder"], jnp.float32(z), BATCH)["bag_of_words"]
    for row in range(4):
        hidden = np.tanh(z[row] @ head["Dense_0"]["kernel"] + head["Dense_0"]["bias"])
        p = np.exp(hidden @ head["output_kernel"])
        length = int(BATCH.lengths[row])
        words = np.asarray(BATCH.targets[row, :length])
        counts = np.bincount(words, minlength=VOCAB)
        np.testing.assert_allclose(found[row], counts @ np.log(p / p.sum()), rtol=1e-5)


def test_the_loss_adds_the_weighted_term_and_the_encoder_learns_from_it(params, terms):
    assert terms.auxiliary["bag_of_words"].shape == (4,)
    base = jvae.negative_elbo(constant(0.5))
    expected = base(terms, 0) - 2.0 * terms.auxiliary["bag_of_words"]
    np.testing.assert_allclose(bag_of_words_loss(base, 2.0)(terms, 0), expected, rtol=1e-6)

    @jax.jit
    @jax.grad
    def gradient(params):
        terms = jvae.elbo(MODEL, params, BATCH, key=KEY, train=True)
        return jnp.sum(terms.auxiliary["bag_of_words"])

    grads = gradient(params)
    for part in (grads["encoder"], grads["decoder"]["bag_of_words"]):
        assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(part))
    assert not any(np.any(leaf != 0) for leaf in jax.tree.leaves(grads["decoder"]["text"]))


def test_no_reported_number_contains_the_term(params, terms):
    plain = params | {"decoder": params["decoder"]["text"]}
    trained = jax.jit(partial(jvae.elbo, PLAIN, num_samples=3, train=True))(plain, BATCH, key=KEY)
    np.testing.assert_allclose(terms.elbo, trained.elbo, rtol=1e-6)
    np.testing.assert_allclose(terms.log_likelihood, trained.log_likelihood, rtol=1e-6)

    def evaluated(model, params):
        run = partial(jvae.iw_log_likelihood, model, num_samples=3, chunk_size=3)
        elbo = jvae.elbo(model, params, BATCH, key=KEY)
        assert elbo.auxiliary == {}
        return elbo.elbo, run(params, BATCH, key=KEY)

    ours, theirs = (jax.jit(partial(evaluated, m))(p) for m, p in ((MODEL, params), (PLAIN, plain)))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_decoding_reads_the_text_decoder(params):
    z = jnp.ones((2, 3))
    ours = MODEL.decoder.start(params["decoder"], z)
    theirs = PLAIN.decoder.start(params["decoder"]["text"], z)
    token = jnp.asarray([1, 1])
    np.testing.assert_array_equal(
        MODEL.decoder.step(params["decoder"], ours, token)[1],
        PLAIN.decoder.step(params["decoder"]["text"], theirs, token)[1],
    )
