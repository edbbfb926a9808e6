"""How many importance samples are enough, and what fewer of them cost."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jvae.evaluation.diagnostics import iw_nll, standard_error

K_CURVE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
BLOCK = 50  # samples drawn between two looks


class Change(NamedTuple):
    """What further samples would take off the mean IW-NLL.

    Attributes:
      nll: nats per sentence, an estimate.
      error: its standard error.
    """

    nll: float
    error: float


def remaining_change(log_weights: ArrayLike, total: float) -> Change:
    """By how much the mean IW-NLL would fall from the K samples at hand to `total`.

    To first order in 1/K the bias of a sentence's IW-NLL is `v / 2K`, with v the variance of its
    weights over their squared mean. So is, in expectation, `iw_nll` of half the samples less that
    of all; heavy tails show there which v, from few samples, misses, and the larger of the two
    means over sentences is taken. The error joins two: what the estimate varies over sentences, and
    the samples still to come, `v (1/K - 1/total)` of variance a sentence.

    Args:
      log_weights: `[K, N]`, nats, K at least 2.
      total: samples of which the first K are at hand; infinity for `-log p(x)` itself.

    Returns:
      Nats per sentence. The error is NaN for a single sentence. Both are too small where so few
      samples carry a sentence that its K are no picture of its weights.

    Source: the bias by the delta method, Nowozin 2018, proposition 1.
    """
    logs = np.asarray(log_weights, np.float64)
    count, sentences = logs.shape
    weights = np.exp(logs - logs.max(axis=0))
    relative = weights.var(axis=0, ddof=1) / weights.mean(axis=0) ** 2
    half = count // 2
    by_halves = (iw_nll(logs[:half]) + iw_nll(logs[half : 2 * half])) / 2 - iw_nll(logs)
    share = 1 / count - 1 / total
    terms = max(relative / 2, count * by_halves, key=np.mean) * share
    to_come = relative.sum() * share / sentences**2
    return Change(float(terms.mean()), math.hypot(standard_error(terms), math.sqrt(to_come)))


def block_size(num_samples: int, tolerance: float) -> int:
    """Samples drawn at a time: all of them, unless fewer may do."""
    return min(BLOCK, num_samples) if tolerance else num_samples


def draw_until(draw: Callable[[int], np.ndarray], num_samples: int, tolerance: float) -> np.ndarray:
    """Draws blocks of samples until the rest would change the mean IW-NLL by too little.

    Looks at the numbers of `K_CURVE`, and stops when the estimated change and two of its errors
    are below the tolerance.

    Args:
      draw: number of the first sample -> the log weights of a block, `[block_size, N]`.
      num_samples: K at most.
      tolerance: nats per sentence; 0 for all samples.

    Returns:
      `[K, N]`, nats.
    """
    weights = draw(0)
    while len(weights) < num_samples:
        if len(weights) in K_CURVE:
            change = remaining_change(weights, num_samples)
            if change.nll + 2 * change.error < tolerance:
                break
        weights = np.concatenate([weights, draw(len(weights))])
    return weights[:num_samples]
