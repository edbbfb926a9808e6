"""`p(z)` over K classes, uniform or learned."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from jvae.components import Component
from jvae.configs import option
from jvae.model import Prior
from jvae.posteriors.categorical import CLASS_PRIOR, CLASSES, Categorical
from jvae.types import Key, Params


@dataclasses.dataclass(frozen=True)
class CategoricalPriorOptions:
    """Options of the prior over classes."""

    learned: bool = option(False, "the probabilities are learned; else all classes are alike")


def categorical_prior(*, latent_size: int, learned: bool = False) -> Prior:
    """`p(z = e_k) = softmax(logits)_k`, uniform at first.

    Args:
      latent_size: K, the number of classes.
      learned: whether the logits are parameters; else they stay 0.
    """

    def init(key: Key) -> Params:
        return {"logits": jnp.zeros(latent_size)} if learned else {}

    def apply(params: Params, context: Any = None) -> Categorical:
        logits = params["prior"]["logits"] if learned else jnp.zeros(latent_size)
        return Categorical(logits[None])

    return Prior(init, apply)


CATEGORICAL_PRIOR = Component(
    CategoricalPriorOptions,
    lambda options, shared: categorical_prior(
        latent_size=shared.latent_size, learned=options.learned
    ),
    gives=frozenset({CLASS_PRIOR}),
    needs={CLASSES: "it is a prior of classes"},
    about="a probability of each of latent_size classes",
)
