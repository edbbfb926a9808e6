"""Posterior means of the encoder beside those of the model, for a latent of one dimension."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jvae.errors import UserError
from jvae.evaluation.corpus import collect
from jvae.evaluation.functions import SplitBatches, make_functions
from jvae.evaluation.posterior_grid import model_posterior_mean
from jvae.runs.directory import TrainedRun
from jvae.runs.task import Data

GRID = np.arange(-20.0, 20.0, 0.1)
SENTENCES = 500  # as in the paper's figure
BATCH_SIZE = 50


class PosteriorMeans(NamedTuple):
    """Means of `p(z | x)` and of `q(z | x)`.

    Attributes:
      model: `[N]`.
      encoder: `[N]`.
    """

    model: np.ndarray
    encoder: np.ndarray


def posterior_means(run: TrainedRun, data: Data) -> PosteriorMeans:
    """Computes both means of the first sentences of the evaluated split.

    Args:
      run: trained.
      data: its corpus.

    Raises:
      UserError: the latent has more than one dimension.

    References:
      He et al. (2019), section 3.2 and figure 3.
    """
    if run.config.model.latent_size != 1:
        raise UserError(
            f"{run.workdir} has {run.config.model.latent_size} latent dimensions: the grid needs 1"
        )
    split = data.splits[run.config.evaluation.split].first(SENTENCES)
    batches, number = SplitBatches(split, data.buckets.widths, BATCH_SIZE), len(split)
    key = jax.random.key(run.config.training.seed)
    by_grid = jax.jit(partial(model_posterior_mean, run.model, grid=jnp.asarray(GRID), key=key))
    model_mean: np.ndarray = collect(lambda batch: by_grid(run.params, batch), batches, number)
    terms = make_functions(run.model).posterior(run.params, batches, number, key)
    return PosteriorMeans(model_mean, np.asarray(terms.mean)[:, 0])
