"""Stops drawing importance samples when more would change little, and estimates how little."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jvae.evaluation.diagnostics import iw_nll

K_CURVE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
BLOCK = 100  # the fewest samples whose halves and quarters tell what more would bring
SLOWEST = 0.25  # power of 1/k at which the bias is taken to fall at least


class Change(NamedTuple):
    """Amount that further samples would take off the mean IW-NLL.

    Attributes:
      nll: nats per example, an estimate.
      error: its standard error.
    """

    nll: float
    error: float


def remaining_change(log_weights: ArrayLike, total: float) -> Change:
    """Estimates by how much the mean IW-NLL would fall from the K samples at hand to `total`.

    Its bias is taken for `c k^-a`, where a follows from what the last two doublings of k brought:
    1 to first order in 1/k (the delta method), less for the heavy tails that text has. The rest
    is `d (1 - (K / total)^a) / (2^a - 1)`, d being what the last doubling brought. The error joins
    that of the estimate, by the jackknife over examples, and the noise of the samples still to
    come: the two halves of the samples at hand tell how much a example's IW-NLL varies.

    Args:
      log_weights: `[K, N]`, nats, K at least 4.
      total: samples of which the first K are at hand; infinity for `-log p(x)` itself.

    Returns:
      Nats per example. The error is NaN for a single example.

    Source: Nowozin 2018, proposition 1, for a = 1; the power is fitted, not derived.
    """
    logs = np.asarray(log_weights, np.float64)
    count, examples = logs.shape

    def at(k: int) -> np.ndarray:
        groups = logs[: count // k * k].reshape(-1, k, examples)
        return np.array([iw_nll(group) for group in groups])

    quarters, halves, whole = at(count // 4), at(count // 2), iw_nll(logs)
    quarter, half = quarters.mean(axis=0), halves.mean(axis=0)
    drops = np.stack([quarter - half, half - whole])
    value = _extrapolate(drops.mean(axis=1), count / total)
    if examples == 1:
        return Change(float(value), math.nan)
    others = (drops.sum(axis=1, keepdims=True) - drops) / (examples - 1)
    without = _extrapolate(others, count / total)
    jackknife = (examples - 1) * np.var(without)
    to_come = np.sum((halves[0] - halves[1]) ** 2) / 4 * (1 - count / total) / examples**2
    return Change(float(value), math.sqrt(jackknife + to_come))


def _extrapolate(drops: np.ndarray, share: float) -> np.ndarray:
    """Extrapolates from two doublings that brought `drops` `[2, ..]`; `share` is K / total."""
    before, last = np.maximum(drops, 1e-12)  # noise about nothing left
    power = np.clip(np.log2(before / last), SLOWEST, 1)
    return last * (1 - share**power) / (2**power - 1)


def block_size(num_samples: int, tolerance: float) -> int:
    """Returns how many samples are drawn at a time: all, unless fewer may suffice."""
    return min(BLOCK, num_samples) if tolerance else num_samples


def draw_until(draw: Callable[[int], np.ndarray], num_samples: int, tolerance: float) -> np.ndarray:
    """Draws blocks of samples until the rest would change the mean IW-NLL by too little.

    Looks at the numbers of `K_CURVE`, and stops when the estimated change and two of its errors
    are below the tolerance.

    Args:
      draw: number of the first sample -> the log weights of a block, `[block_size, N]`.
      num_samples: K at most.
      tolerance: nats per example; 0 for all samples.

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
