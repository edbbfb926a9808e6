"""The log-likelihood of the user's sentences under a trained text model."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from jvae.batch import Batch
from jvae.errors import UserError
from jvae.evaluation import corpus
from jvae.model import VAE
from jvae.runs.directory import TrainedRun
from jvae.tasks.text.use import padded, read
from jvae.types import Array, Key, Params


def log_likelihood(
    run: TrainedRun, sentences: Sequence[str], num_samples: int, *, key: Key
) -> np.ndarray:
    """Estimates `log p(x)` from below, `[N]`, nats per sentence.

    `log 1/K sum_k p(x, z_k) / q(z_k | x)`, `z_k ~ q`; exact for a language model, whatever K. A
    sentence's samples follow from the key and its place among the sentences.

    Args:
      run: trained.
      sentences: N of them; they are cut as in training.
      num_samples: K.
      key: of all samples.

    Raises:
      UserError: the model is an autoencoder, or there is no sentence.

    References:
      Burda et al. 2016, equation 8.
    """
    refuse_autoencoder(run)
    if num_samples < 1:
        raise UserError(f"num_samples = {num_samples} must be at least 1")
    if run.config.model.mode == "lm":
        num_samples = 1
    split, rows = read(run, sentences), run.config.evaluation.iw_batch_size
    batches = padded(run, split, rows)
    chunk = min(samples_at_once(run, rows, batches.widths[-1]), num_samples)
    estimate = partial(estimator(run.model, num_samples, chunk), run.params, key=key)
    values: np.ndarray = corpus.collect(estimate, batches, len(sentences))
    return values


def refuse_autoencoder(run: TrainedRun) -> None:
    """Raises a UserError of a run without a likelihood."""
    if run.config.model.mode == "ae":
        raise UserError(f"{run.workdir} is an autoencoder: it gives sentences no probability")


def samples_at_once(run: TrainedRun, rows: int, width: int) -> int:
    """Returns how many samples of z `evaluation.memory_mb` allows to decode at once.

    Args:
      run: trained.
      rows: sentences that are decoded at once.
      width: their padded length, predicted tokens.
    """
    memory = run.config.evaluation.memory_mb * 2**20
    states, outputs = run.task.states(run.config, width), run.task.outputs(run.resources)
    return corpus.samples_per_chunk(memory, rows, outputs, states)


@lru_cache(maxsize=8)
def estimator(model: VAE, num_samples: int, chunk: int) -> Callable[..., Array]:
    """Compiles `(params, batch, *, key) -> [B]`, the estimate of `log p(x)`, nats.

    Args:
      model: the VAE.
      num_samples: K.
      chunk: samples that are decoded at once.
    """

    def estimate(params: Params, batch: Batch, *, key: Key) -> Array:
        logs = corpus.log_weights(
            model, params, batch, key=key, num_samples=num_samples, chunk_size=chunk
        )
        return jax.nn.logsumexp(logs, axis=1) - jnp.log(num_samples)

    return jax.jit(estimate)
