"""The evidence lower bound, term by term and example by example."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jvae.batch import Batch
from jvae.distributions import kl_divergence, surrogate_kl
from jvae.errors import UserError
from jvae.estimators import Estimator, pathwise
from jvae.model import VAE, Inference
from jvae.random import Stream, example_keys, sample_keys, stream
from jvae.types import Array, Key, Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ELBOTerms:
    """The two sides of the bound, nats per example.

    Attributes:
      log_likelihood: `[B]`, `E_q log p(x | z, c)`, summed over the predicted symbols.
      kl: by name, `[B, L]` per dimension where the closed form factorises, else `[B]`. In training:
        the surrogate of the pair of families, if there is one (`jvae.distributions.surrogate_kl`),
        and the terms of latents inside the encoder (`jvae.model.Inference`).
      estimated: names of `kl` that are Monte Carlo estimates, which may be negative for an example;
        the others are in closed form.
      posterior: `q(z | x, c)`.
      z: its samples, leaves `[S, B, ..]`.
      statistics: sums over real rows, by part: what encoder and estimator count.
    """

    log_likelihood: Array
    kl: dict[str, Array]
    estimated: frozenset[str] = dataclasses.field(
        metadata={"static": True}, default_factory=frozenset
    )
    posterior: Any = None
    z: Any = None
    statistics: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def analytic(self) -> bool:
        """True where every term of the KL is in closed form."""
        return not self.estimated

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
        """`[B]`, `log_likelihood - total_kl`, with weight 1 whatever training uses.

        For an autoencoder, whose point masses have no KL, it is the log-likelihood and no bound.
        """
        return self.log_likelihood - self.total_kl


def init(model: VAE, batch: Batch, *, key: Key) -> Params:
    """Makes parameters, `{"encoder": .., "decoder": .., "prior": ..}`; `batch` gives the shapes."""
    keys = jax.random.split(stream(key, Stream.PARAMS), 3)
    params: dict[str, Params] = {}
    if model.conditioner is not None:
        own_key = stream(key, Stream.CONDITIONER)
        params["conditioner"] = model.conditioner.init(own_key, batch.condition)
    context = model.context(params, batch.condition, key=key, train=False)
    encoder = model.encoder.init(keys[0], batch, context)

    def sample(encoder: Params) -> Any:
        result = model.encoder.apply(encoder, batch, context, key=key, train=False)
        return Inference.of(result).posterior.sample(latent_keys(key, batch))

    shapes = jax.eval_shape(sample, encoder)
    z = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return params | {
        "encoder": encoder,
        "decoder": model.decoder.init(keys[1], z, batch, context),
        "prior": model.prior.init(keys[2]),
    }


def latent_keys(key: Key, batch: Batch) -> Key:
    """Returns the keys of the examples' latent noise, `[B]`."""
    return example_keys(stream(key, Stream.LATENT), batch.index)


def check_count(name: str, number: int) -> None:
    """Refuses numbers of samples below 1: their mean is no number.

    Raises:
      UserError: names the argument and its value.
    """
    if number < 1:
        raise UserError(f"{name}={number} must be at least 1")


def elbo(
    model: VAE,
    params: Params,
    batch: Batch,
    *,
    key: Key,
    num_samples: int = 1,
    train: bool = False,
    estimator: Estimator = pathwise,
    carried: Any = None,
) -> ELBOTerms:
    """`ELBO(x) = E_q(z|x) log p(x | z) - KL(q(z | x) || p(z))`, a lower bound on `log p(x)`.

    With a condition c, everything is given c as well.

    Args:
      model: the VAE.
      params: its parameters.
      batch: B examples.
      key: each example's noise is drawn from this key and its own number, so that its value does
        not depend on the rest of the batch.
      num_samples: S, samples of z averaged in the first term.
      train: whether dropout acts, a surrogate of the KL stands in for it where there is one, and
        latents inside the encoder are drawn and add their terms. Without, these are no random
        variables: the bound holds for the posterior that their means make.
      estimator: of the first term and its gradient, see `jvae.estimators`.
      carried: what the estimator has counted.

    Returns:
      The terms per example. `jnp.sum(terms.elbo * batch.weight)` leaves out padding rows.

    References:
      Kingma and Welling (2014), Auto-Encoding Variational Bayes, equation 3.
    """
    check_count("num_samples", num_samples)
    chex.assert_equal_shape([batch.index, batch.weight])
    context = model.context(params, batch.condition, key=key, train=train)
    inference = model.infer(params, batch, context, key=key, train=train)
    q, p = inference.posterior, model.prior.apply(params, context)
    keys = sample_keys(latent_keys(key, batch), jnp.arange(num_samples))
    decoder_key = stream(key, Stream.DECODER)

    def likelihood(z: Any) -> tuple[Array, dict[str, Array]]:
        options: dict[str, Any] = {"key": decoder_key, "train": train}
        if model.decoder.joint is not None:
            return model.decoder.joint(params["decoder"], z, batch, context, **options)[:2]
        return model.decoder.log_prob(params["decoder"], z, batch, context, **options), {}

    estimate = estimator(likelihood, q, keys, params=params, carried=carried)
    log_likelihood, along_output = estimate.value
    chex.assert_shape(log_likelihood, batch.index.shape)
    surrogate, estimated = surrogate_kl(q, p) if train else None, frozenset[str]()
    if surrogate is not None:
        kl = surrogate
    else:
        latent, analytic = kl_divergence(q, p, estimate.z, estimate.log_q)
        kl, estimated = {"latent": latent}, frozenset() if analytic else frozenset({"latent"})
    kl = kl | along_output | (inference.terms if train else {})
    parts = {"encoder": inference.statistics, "estimator": estimate.statistics}
    statistics = {name: part for name, part in parts.items() if jax.tree.leaves(part)}
    return ELBOTerms(log_likelihood, kl, estimated, q, estimate.z, statistics)
