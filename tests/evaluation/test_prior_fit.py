"""Priors estimated from the posteriors of a whole split, after training."""

import jax
import jax.numpy as jnp
import numpy as np

from jvae import VAE, Decoder, Encoder
from jvae.evaluation.functions import make_functions
from jvae.evaluation.prior_fit import fit_prior, observe_split
from jvae.posteriors import nvib
from jvae.priors import dirichlet_process
from tests.conftest import VOCAB
from tests.evaluation.setting import sentences

WIDTH, KEY = 6, jax.random.key(1)


def test_the_prior_has_the_numbers_of_vectors_that_are_kept():
    """Of a head that drops some words in training, and more of them outside."""
    family = nvib(latent_size=2, alpha="relu", prune=0.5)
    share = np.ones(VOCAB)  # alpha of each word
    share[4], share[5], share[6] = 0, 0.4, 0.6
    zeros = {"kernel": jnp.zeros((VOCAB, 2)), "bias": jnp.zeros(2)}
    kernel = jnp.asarray((share - 1)[:, None] * np.sqrt(VOCAB), jnp.float32)
    alpha = {"kernel": kernel, "bias": jnp.zeros(1)}
    params = {"params": {"alpha": alpha, "mean": zeros, "log_var": zeros}}

    def apply(params, batch, context, *, key, train):
        words = jax.nn.one_hot(batch.x.targets, VOCAB)
        return family.posterior.apply(params, words, batch.x.mask, train=train)

    prior = dirichlet_process(latent_size=2, max_count=WIDTH + 1)
    nothing = Decoder(lambda *_: None, lambda *_: None)
    functions = make_functions(VAE(Encoder(lambda *_: None, apply), nothing, prior))
    split = sentences(20, WIDTH, batch_size=8)  # 4 rows of the last batch only pad it
    every = {"encoder": params, "prior": prior.init(jax.random.key(0)), "decoder": {}}

    numbers = observe_split(functions, every, split, KEY)
    x = split.split.x
    kept = [
        int(np.sum(share[row[1 : n + 1]] > 0.5)) for row, n in zip(x.ids, x.lengths, strict=True)
    ]
    assert np.any(np.asarray(kept) < x.lengths)  # it does drop
    np.testing.assert_array_equal(numbers, np.bincount(kept, minlength=WIDTH + 2))
    found = fit_prior(functions, every, split, key=KEY)
    expected = 1.0 + np.bincount(kept, minlength=WIDTH + 2)
    logits = prior.apply(found, None).logits
    np.testing.assert_allclose(jax.nn.softmax(logits), expected / expected.sum(), rtol=1e-5)
    assert found["encoder"] is params and not np.any(every["prior"]["logits"])
