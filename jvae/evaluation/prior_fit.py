"""Priors, or parts of them, that are estimated from the posteriors of a whole split."""

from typing import Any

import jax
import numpy as np

from jvae.evaluation.functions import Functions, SplitBatches
from jvae.types import Key, Params


def fit_prior(functions: Functions, params: Params, split: SplitBatches, *, key: Key) -> Params:
    """Estimates the prior from the posteriors outside training.

    Args:
      functions: of a model whose prior has `observe` and `fit`.
      params: all of the model's.
      split: the training examples.
      key: of draws that are not looked at.

    Returns:
      The parameters, with others of the prior.
    """
    fit = functions.model.prior.fit
    assert fit is not None
    return params | {"prior": fit(params["prior"], observe_split(functions, params, split, key))}


def observe_split(functions: Functions, params: Params, split: SplitBatches, key: Key) -> Any:
    """Sums `Prior.observe` over the examples of a split, in double precision."""
    total: Any = None
    for batch in split:
        observed = functions.observe(params, functions.place(batch), key=key)
        observed = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), observed)
        total = observed if total is None else jax.tree.map(np.add, total, observed)
    return total
