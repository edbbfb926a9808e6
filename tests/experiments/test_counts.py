"""Numbers of vectors counted anew after training."""

import jax
import jax.numpy as jnp
import numpy as np

from jvae import VAE
from jvae.data.encoding import Split
from jvae.evaluation.programs import SplitBatches, make_programs
from jvae.experiments.counts import read_counts, with_counts
from jvae.posteriors import nvib
from jvae.priors import dirichlet_process
from jvae.vae import Decoder, Encoder
from tests.conftest import VOCAB, make_sentences

WIDTH = 6


def test_the_prior_has_the_numbers_of_vectors_that_are_kept():
    """Of a head that drops some words in training, and more of them outside."""
    family = nvib(latent_size=2, alpha="relu", prune=0.5)
    share = np.ones(VOCAB)  # alpha of each word
    share[4], share[5], share[6] = 0, 0.4, 0.6
    zeros = {"kernel": jnp.zeros((VOCAB, 2)), "bias": jnp.zeros(2)}
    kernel = jnp.asarray((share - 1)[:, None] * np.sqrt(VOCAB), jnp.float32)
    alpha = {"kernel": kernel, "bias": jnp.zeros(1)}
    params = {"params": {"alpha": alpha, "mean": zeros, "log_var": zeros}}

    def apply(params, batch, *, key, train):
        words = jax.nn.one_hot(batch.targets, VOCAB)
        return family.posterior.apply(params, words, batch.mask, train=train)

    prior = dirichlet_process(latent_size=2, max_count=WIDTH + 1)
    nothing = Decoder(*[lambda *_: None] * 4)
    programs = make_programs(VAE(Encoder(lambda *_: None, apply), nothing, prior, 2))
    tokens, lengths = make_sentences(20, WIDTH, seed=1)
    split = SplitBatches(Split(tokens, lengths), (WIDTH,), batch_size=8)
    every = {"encoder": params, "prior": prior.init(jax.random.key(0)), "decoder": {}}

    counts = read_counts(programs, every, split, key=jax.random.key(1))
    kept = [
        int(np.sum(share[row[1 : n + 1]] > 0.5)) for row, n in zip(tokens, lengths, strict=True)
    ]
    assert np.any(np.asarray(kept) < lengths)  # it does drop
    np.testing.assert_array_equal(counts, np.bincount(kept))
    found = with_counts(every, counts)
    expected = 1.0 + np.bincount(kept, minlength=WIDTH + 2)
    logits = prior.distribution(found).logits
    np.testing.assert_allclose(jax.nn.softmax(logits), expected / expected.sum(), rtol=1e-5)
    assert found["encoder"] is params and not np.any(every["prior"]["logits"])
