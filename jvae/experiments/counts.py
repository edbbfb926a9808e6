"""How many vectors the training sentences have: what a prior of sets takes for p(n)."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jvae.batch import Batch
from jvae.evaluation.corpus import collect
from jvae.evaluation.programs import Programs, SplitBatches
from jvae.model import VAE
from jvae.posteriors import OF_TOKENS
from jvae.posteriors.tokens import kept_positions
from jvae.types import Key, Params

COUNTS = "counts.json"  # of a run directory: the best epoch, and its sentences with n vectors


def has_counts(config: ConfigDict) -> bool:
    """Whether the prior counts vectors."""
    return config.model.posterior in OF_TOKENS and config.model.mode == "vae"


def first_counts(config: ConfigDict, lengths: np.ndarray) -> np.ndarray:
    """Sentences with n vectors before training, when no alpha is 0; `lengths` `[N]` in tokens."""
    stride = config.model.vts_stride if config.model.posterior == "vts" else 0.0
    kept = np.array([kept_positions(n, stride).sum() for n in range(lengths.max() + 1)])
    return np.bincount(kept[lengths])


def read_counts(programs: Programs, params: Params, split: SplitBatches, *, key: Key) -> np.ndarray:
    """Sentences of a split of which the posterior keeps n vectors outside training.

    Args:
      programs: of a model with sets.
      params: its parameters.
      split: the sentences.
      key: of draws that are not looked at.
    """

    def kept(batch: Batch) -> Any:
        return programs.encode(params, programs.place(batch), key=key).figures["vectors"]

    return np.bincount(collect(kept, split, len(split.split)).astype(np.int64))


def fitted_prior(model: VAE, params: Params, counts: np.ndarray) -> Params:
    """The parameters with a prior fitted to so many sentences with 0, 1, .. vectors."""
    prior, fit = params["prior"], model.prior.fit
    assert fit is not None
    return params | {"prior": fit(prior, np.pad(counts, (0, len(prior["logits"]) - len(counts))))}
