"""The bag-of-words term: its equation, where it acts, and where it must not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.remedies import bag_of_words_loss, with_bag_of_words
from tests.conftest import LATENT, VOCAB, make_batch

KEY = jax.random.key(3)
BATCH = make_batch(4, 6)


def _log_prob(params, z, batch, *, key, train):
    del key, train
    return -jnp.sum(jnp.square(z - params["centre"]), axis=-1) * batch.x.lengths


# A VAE without scans, which compiles at once: words at their first place say what z is.
PLAIN = jvae.VAE(
    jvae.Encoder(
        init=lambda key, batch: {"mean": jax.random.normal(key, (VOCAB, LATENT))},
        apply=lambda params, batch, *, key, train: jvae.DiagonalGaussian(
            params["mean"][batch.x.ids[:, 1]], jnp.full((len(batch.x.ids), LATENT), -1.0)
        ),
    ),
    jvae.Decoder(
        init=lambda key, z, batch: {"centre": jax.random.normal(key, (LATENT,))},
        log_prob=_log_prob,
        start=lambda params, z, max_length: z + params["centre"],
        step=lambda params, carry, token: (carry + 1, carry * token[:, None]),
    ),
    jvae.standard_normal(latent_size=LATENT),
    LATENT,
)
MODEL = PLAIN._replace(
    decoder=with_bag_of_words(PLAIN.decoder, vocab_size=VOCAB, hidden_size=5, init_scale=0.8)
)
ELBO = partial(jvae.elbo, MODEL, batch=BATCH, key=KEY, num_samples=3)


@pytest.fixture(scope="module")
def params():
    return jax.jit(lambda: jvae.init(MODEL, BATCH, key=KEY))()


@pytest.fixture(scope="module")
def terms(params):
    return ELBO(params, train=True)


def test_the_term_is_a_sum_over_the_words_of_a_softmax_of_z(params):
    z = np.random.default_rng(1).normal(size=(4, LATENT))
    head = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64), params["decoder"]["bag_of_words"]
    )
    found = MODEL.decoder.auxiliary(params["decoder"], jnp.float32(z), BATCH)["bag_of_words"]
    for row in range(4):
        hidden = np.tanh(z[row] @ head["Dense_0"]["kernel"] + head["Dense_0"]["bias"])
        p = np.exp(hidden @ head["output_kernel"])
        words = np.asarray(BATCH.x.targets[row, : int(BATCH.x.lengths[row])])
        counts = np.bincount(words, minlength=VOCAB)
        np.testing.assert_allclose(found[row], counts @ np.log(p / p.sum()), rtol=1e-5)


def test_the_loss_adds_the_weighted_term(params, terms):
    assert terms.auxiliary["bag_of_words"].shape == (4,)
    assert np.all(terms.auxiliary["bag_of_words"] < 0)
    base, half = jvae.negative_elbo, {"kl_weight": 0.5}
    expected = base(terms, half, BATCH.weight) - 2.0 * terms.auxiliary["bag_of_words"]
    total = bag_of_words_loss(base, 2.0)(terms, half, BATCH.weight)
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    one = jvae.elbo(MODEL, params, BATCH, key=KEY, train=True)
    assert np.all(one.auxiliary["bag_of_words"] != terms.auxiliary["bag_of_words"])


def test_the_encoder_learns_from_the_term_and_the_text_decoder_does_not(params):
    grads = jax.grad(lambda p: jnp.sum(ELBO(p, train=True).auxiliary["bag_of_words"]))(params)
    for part in (grads["encoder"], grads["decoder"]["bag_of_words"]):
        assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(part))
    assert np.all(grads["decoder"]["text"]["centre"] == 0)


def test_no_reported_number_contains_the_term(params, terms):
    plain = params | {"decoder": params["decoder"]["text"]}
    trained = jvae.elbo(PLAIN, plain, BATCH, key=KEY, num_samples=3, train=True)
    np.testing.assert_array_equal(terms.elbo, trained.elbo)
    assert ELBO(params, train=False).auxiliary == {}
    bound = partial(jvae.iw_log_likelihood, batch=BATCH, key=KEY, num_samples=3, chunk_size=3)
    ours, theirs = bound(MODEL, params), bound(PLAIN, plain)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_decoding_reads_the_text_decoder(params):
    z, token = jnp.ones((2, LATENT)), jnp.asarray([1, 4])
    carry = MODEL.decoder.steps.start(params["decoder"], z, None, 9)
    _, logits = MODEL.decoder.steps.step(params["decoder"], carry, token)
    expected = (z + params["decoder"]["text"]["centre"]) * token[:, None]
    np.testing.assert_allclose(logits, expected, rtol=1e-6)
