"""The capabilities of a model's distributions, which decide which metrics are defined."""

from typing import Any, NamedTuple

from jvae.distributions import closed_form_kl, has_density, is_empty, is_factorised_gaussian
from jvae.distributions.sets import VectorSet


class Offers(NamedTuple):
    """Capabilities of a model's distributions; the names are those of `Metric.needs`.

    Attributes:
      latent: there is a latent.
      density: the posterior has a density, hence a KL and importance weights; a point mass has
        only reconstructions.
      one_vector: the latent is one continuous vector for each example.
      vector_set: the latent is a set of vectors for each example.
      diagonal: the posterior is a diagonal Gaussian, a point mass among them.
      closed_form_kl: the KL is in closed form; else it is estimated from one sample an example.
      more: capabilities of the posterior's own (its property `capabilities`), which a metric of its
        family may ask for.
    """

    latent: bool = True
    density: bool = True
    one_vector: bool = True
    vector_set: bool = False
    diagonal: bool = True
    closed_form_kl: bool = True
    more: frozenset[str] = frozenset()

    def meets(self, needs: frozenset[str]) -> bool:
        """Tells whether all these capabilities are there."""
        offered = self._asdict()
        return all(name in self.more or offered.get(name, False) for name in needs)


# The fields of `Offers` in the words of the metrics' reference.
WORDS = {
    "latent": "a latent",
    "density": "a posterior with a density",
    "one_vector": "one continuous vector for each example",
    "vector_set": "a set of vectors for each example",
    "diagonal": "diagonal Gaussian posteriors",
    "closed_form_kl": "a KL in closed form",
}


def offers_of(q: Any, p: Any, z: Any) -> Offers:
    """Asks a posterior and a prior, whose arrays are not looked at.

    Args:
      q: the posterior.
      p: the prior.
      z: a sample of q.
    """
    latent = not is_empty(q)
    discrete = hasattr(q, "support")
    same = getattr(z, "ndim", 0) == 2 and getattr(getattr(q, "mean", None), "shape", ()) == z.shape
    return Offers(
        latent=latent,
        density=has_density(q),
        one_vector=latent and same and not discrete,
        vector_set=isinstance(z, VectorSet),
        diagonal=is_factorised_gaussian(q),
        closed_form_kl=closed_form_kl(q, p) is not None,
        more=frozenset(getattr(q, "capabilities", ())),
    )
