"""The evidence lower bound, term by term and sentence by sentence."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jvae.distributions import ANALYTIC_KL, SURROGATE_KL, Distribution, Inference, draw
from jvae.random import Stream, example_keys, sample_keys, stream
from jvae.types import Array, Batch, Key, Params
from jvae.vae import VAE


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ELBOTerms:
    """The two sides of the bound, nats per sentence.

    Attributes:
      log_likelihood: `[B]`, `E_q log p(x | z)`, summed over the predicted tokens.
      kl: by name, `[B, L]` per dimension where the closed form factorises, else `[B]`. In training
        what the pair of families has in its place (`jvae.distributions.SURROGATE_KL`), if it has,
        and what the encoder's own latents cost (`jvae.distributions.Inference`).
      analytic: whether the KL is in closed form; if not it is a Monte Carlo estimate and may be
        negative for a sentence.
      auxiliary: by name, `[B]`: what a loss may add, in training only; no part of the bound.
      posterior: `q(z | x)`, for what is made of it.
      z: `[S, B, L]`, its samples, or a tree of such arrays.
    """

    log_likelihood: Array
    kl: dict[str, Array]
    analytic: bool = dataclasses.field(metadata={"static": True}, default=True)
    auxiliary: dict[str, Array] = dataclasses.field(default_factory=dict)
    posterior: Any = None
    z: Any = None

    @property
    def total_kl(self) -> Array:
        """`[B]`, summed over dimensions and names."""
        rows = self.log_likelihood.shape[0]
        return sum(
            (jnp.sum(term.reshape(rows, -1), axis=1) for term in self.kl.values()),
            start=jnp.zeros_like(self.log_likelihood),
        )

    @property
    def elbo(self) -> Array:
        """`[B]`, `log_likelihood - total_kl`: weight 1, whatever training uses.

        Of an autoencoder, whose point masses have no KL, it is the log-likelihood and no bound.
        """
        return self.log_likelihood - self.total_kl


def init(model: VAE, batch: Batch, *, key: Key) -> Params:
    """Fresh parameters, `{"encoder": .., "decoder": .., "prior": ..}`; `batch` gives shapes."""
    keys = jax.random.split(stream(key, Stream.PARAMS), 3)
    encoder = model.encoder.init(keys[0], batch)

    def sample(encoder: Params) -> Any:
        q = Inference.of(model.encoder.apply(encoder, batch, key=key, train=False)).posterior
        return q.sample(latent_keys(key, batch))

    shapes = jax.eval_shape(sample, encoder)
    z = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return {
        "encoder": encoder,
        "decoder": model.decoder.init(keys[1], z, batch),
        "prior": model.prior.init(keys[2]),
    }


def latent_keys(key: Key, batch: Batch) -> Key:
    """The keys of the sentences' latent noise, `[B]`."""
    return example_keys(stream(key, Stream.LATENT), batch.index)


def kl_divergence(
    q: Distribution, p: Distribution, z: Array, log_q: Array | None = None
) -> tuple[Array, bool]:
    """`KL(q || p)` and whether it is in closed form.

    Closed form `[B, L]` where the pair of families has one; else the one-sample-per-z estimate
    `log q(z) - log p(z)`, averaged over samples, `[B]`.

    Args:
      q: posterior over `[B, L]`.
      p: prior over `[B, L]`.
      z: `[S, B, L]`, samples of q.
      log_q: `[S, B]`, their log densities, where they came with the draw.
    """
    closed_form = ANALYTIC_KL.get((type(q), type(p)))
    if closed_form is not None:
        return closed_form(q, p), True
    if log_q is None:
        log_q = jax.vmap(q.log_prob)(z)
    return jnp.mean(log_q - jax.vmap(p.log_prob)(z), axis=0), False


def elbo(
    model: VAE,
    params: Params,
    batch: Batch,
    *,
    key: Key,
    num_samples: int = 1,
    train: bool = False,
) -> ELBOTerms:
    """`ELBO(x) = E_q(z|x) log p(x | z) - KL(q(z | x) || p(z))`, a lower bound on `log p(x)`.

    Args:
      model: the VAE.
      params: its parameters.
      batch: B sentences.
      key: each sentence's noise is drawn from this key and its own number, so that its value does
        not depend on the rest of the batch.
      num_samples: S, reparameterised samples of z averaged in the first term.
      train: whether dropout acts, a surrogate of the KL stands in for it where there is one, and
        the encoder's own latents are drawn and cost something. Without, these are no random
        variables: the bound is of the posterior that their means make.

    Returns:
      The terms per sentence. `jnp.sum(terms.elbo * batch.weight)` leaves out filling rows.

    References:
      Kingma and Welling (2014), Auto-Encoding Variational Bayes, equation 3.
    """
    found = model.inference(params, batch, key=key, train=train)
    q = found.posterior
    keys = sample_keys(latent_keys(key, batch), jnp.arange(num_samples))
    z, log_q = jax.vmap(partial(draw, q))(keys)
    decoder_key = stream(key, Stream.DECODER)

    def log_likelihood(z: Array) -> Array:
        return model.decoder.log_prob(params["decoder"], z, batch, key=decoder_key, train=train)

    def mean_over_samples(of: Callable[[Array], Any]) -> Any:
        # One sample needs no vmap, and without it the gradient's products stay two-dimensional.
        if num_samples == 1:
            return of(jax.tree.map(lambda draws: draws[0], z))
        return jax.tree.map(partial(jnp.mean, axis=0), jax.vmap(of)(z))

    auxiliary, terms_of = {}, model.decoder.auxiliary
    if train and terms_of is not None:
        auxiliary = mean_over_samples(lambda z: terms_of(params["decoder"], z, batch))
    p = model.prior.distribution(params)
    surrogate = SURROGATE_KL.get((type(q), type(p))) if train else None
    if surrogate is not None:
        kl, analytic = surrogate(q, p), True
    else:
        latent, analytic = kl_divergence(q, p, z, log_q)
        kl = {"latent": latent}
    if train:
        kl = kl | found.terms
    return ELBOTerms(mean_over_samples(log_likelihood), kl, analytic, auxiliary, q, z)
