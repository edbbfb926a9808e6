"""The contract of a distribution, and the capabilities that some distributions offer.

A distribution is a pytree of arrays, so that it passes through `jit`, `vmap` and `while_loop`
unchanged, and it samples from one key per example. (Library distributions carry their batch shape
as static data, which `vmap` leaves stale; BUILD_NOTES.md, "Distributions".)

A family offers what it can do as methods or properties, and the functions of this module
ask for them:

- `sample_and_log_prob(keys)`: a sample with its log density, where that of another z is unknown;
- `kl_to(p)` and `kl_from(q)`: the KL in closed form, or NotImplemented for other families;
- `surrogate_from(q)`, of a prior: the KL terms by name that training takes in place of the KL,
  or NotImplemented;
- `support()`: all values of a discrete z, `[K, B, ..]`, for exact sums;
- `relaxed(keys, temperature)`: a differentiable sample of a continuous relaxation;
- `entropy()`: `[B]`, nats;
- `has_density`, False: a point mass;
- `is_empty`, True: there is no latent;
- `factorised_gaussian`, True: `mean` and `log_var` `[B, L]` say all, as estimators of mutual
  information ask;
- `capabilities`: a set of names that metrics of this family ask for.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jvae.types import Array, Key


class Distribution(Protocol):
    """A distribution over values z, each a pytree of arrays with leading axis B."""

    def sample(self, keys: Key) -> Any:
        """Draws one z for each example, keys `[B]`; reparameterised where z is continuous."""
        ...

    def log_prob(self, z: Any) -> Array:
        """Returns the log density of z, `[B]`, nats."""
        ...


def has_density(q: Any) -> bool:
    """Tells point masses, which have none, from other families."""
    return bool(getattr(q, "has_density", True))


def is_empty(q: Any) -> bool:
    """Tells the posterior of a model without a latent."""
    return bool(getattr(q, "is_empty", False))


def is_factorised_gaussian(q: Any) -> bool:
    """Tells families that `mean` and `log_var` describe completely."""
    return bool(getattr(q, "factorised_gaussian", False))


def sample_and_log_prob(q: Any, keys: Key) -> tuple[Any, Array | None]:
    """Draws z and returns it with `log q(z)`, `[B]`; None where `q.log_prob(z)` gives that."""
    offered = getattr(q, "sample_and_log_prob", None)
    return (q.sample(keys), None) if offered is None else offered(keys)


def closed_form_kl(q: Any, p: Any) -> Array | None:
    """Returns `KL(q || p)`, `[B, L]` by dimension or `[B]`, or None where no closed form is known.

    Asks `q.kl_to(p)`, then `p.kl_from(q)`, as Python asks two operands for an operation.
    """
    for offered, other in ((getattr(q, "kl_to", None), p), (getattr(p, "kl_from", None), q)):
        if offered is not None and (kl := offered(other)) is not NotImplemented:
            return kl
    return None


def surrogate_kl(q: Any, p: Any) -> dict[str, Array] | None:
    """Returns the KL terms that training takes in place of the KL, by name, or None."""
    offered = getattr(p, "surrogate_from", None)
    terms = NotImplemented if offered is None else offered(q)
    return None if terms is NotImplemented else terms


def kl_divergence(q: Any, p: Any, z: Any, log_q: Array | None = None) -> tuple[Array, bool]:
    """Returns `KL(q || p)` and whether it is in closed form.

    Without a closed form it is the estimate `log q(z) - log p(z)`, a mean over samples, `[B]`.

    Args:
      q: the posterior.
      p: the prior.
      z: samples of q, leaves `[S, B, ..]`.
      log_q: `[S, B]`, their log densities, where they came with the samples.
    """
    closed_form = closed_form_kl(q, p)
    if closed_form is not None:
        return closed_form, True
    if log_q is None:
        log_q = jax.vmap(q.log_prob)(z)
    return jnp.mean(log_q - jax.vmap(p.log_prob)(z), axis=0), False
