"""Padded buckets and the order in which an epoch visits them."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jvae.batch import Batch, resized
from jvae.data.split import Split


class Buckets(NamedTuple):
    """Few shapes for all examples.

    Attributes:
      widths: of each bucket, ascending.
      waste: share of the padded batch that is padding.
    """

    widths: tuple[int, ...]
    waste: float

    def __str__(self) -> str:
        widths = ", ".join(map(str, self.widths))
        return f"{len(self.widths)} buckets (up to {widths} wide), {self.waste:.1%} padding"


class Plan(NamedTuple):
    """The batches of one epoch, in order.

    Attributes:
      bucket: `[M]` int32, which width.
      index: `[M, B]` int32, numbers of examples; a padding row repeats one of the batch.
      weight: `[M, B]` float32, 0 for padding rows.
    """

    bucket: np.ndarray
    index: np.ndarray  # type: ignore[assignment]  # not tuple.index
    weight: np.ndarray


def choose_buckets(needed: np.ndarray, max_buckets: int) -> Buckets:
    """Chooses the at most `max_buckets` widths with the least padding, exactly.

    Dynamic programming over the distinct widths: `cost[k][j]`, the padded size of all examples
    up to width j in k buckets, is `min_i cost[k-1][i] + count(i, j] * width_j`.

    Args:
      needed: `[N]`, the width that each example needs.
      max_buckets: each costs one compilation of each function.
    """
    values, counts = np.unique(needed, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    costs = np.full(len(values) + 1, np.inf)
    costs[0] = 0.0
    choices = []
    for _ in range(min(max_buckets, len(values))):
        # padded[i, j]: buckets so far end before value i, the new one holds values i..j.
        padded = costs[:-1, None] + (below[None, 1:] - below[:-1, None]) * values[None, :]
        padded[np.tril_indices(len(values), -1)] = np.inf
        choices.append(padded.argmin(axis=0))
        costs = np.concatenate([[np.inf], padded.min(axis=0)])
    widths: list[int] = []
    last = len(values) - 1
    for choice in reversed(choices):
        widths.insert(0, int(values[last]))
        last = int(choice[last]) - 1
    real, total = float(needed.sum()), float(costs[-1])
    return Buckets(tuple(widths), 1.0 - real / total)


def _assign(needed: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    if needed.max() > widths[-1]:
        raise ValueError(f"an example of width {needed.max()} fits no bucket of {widths}")
    return np.searchsorted(np.asarray(widths), needed)


def _plan(
    order: np.ndarray, buckets: np.ndarray, batch_size: int, num_widths: int, num_devices: int
) -> Plan:
    """Cuts each bucket's examples, taken in `order`, into batches of `batch_size`."""
    parts = []
    columns = np.arange(full_rows(batch_size, num_devices))
    buckets = buckets[order]
    for bucket in range(num_widths):
        members = order[buckets == bucket].astype(np.int32)
        starts = np.arange(0, len(members), batch_size)[:, None]
        counts = np.minimum(batch_size, len(members) - starts)
        which = np.full(len(starts), bucket, np.int32)
        index, weight = members[starts + columns % counts], (columns < counts).astype(np.float32)
        parts.append(Plan(which, index, weight))
    return Plan(*map(np.concatenate, zip(*parts, strict=True)))


def epoch_plan(
    needed: np.ndarray,
    widths: tuple[int, ...],
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    num_devices: int = 1,
    max_batches: int | None = None,
) -> Plan:
    """Plans one epoch: examples shuffled within buckets, then batches shuffled, from (seed, epoch).

    Args:
      needed: `[N]`, the width that each example needs.
      widths: the buckets.
      batch_size: B; each bucket's last batch is padded with rows of weight 0.
      seed: the run's seed.
      epoch: the order of an epoch depends on nothing else, so that a resumed run continues it.
      num_devices: rows are padded to a multiple of it.
      max_batches: only the first so many batches of the order.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(needed))
    plan = _plan(order, _assign(needed, widths), batch_size, len(widths), num_devices)
    chosen = rng.permutation(len(plan.bucket))[:max_batches]
    return Plan(*(field[chosen] for field in plan))


def corpus_plan(
    needed: np.ndarray, widths: tuple[int, ...], batch_size: int, *, num_devices: int = 1
) -> Plan:
    """Plans every example once, in the split's order within each bucket: for evaluation.

    Batches are of at least `batch_size` examples, in full rows of the devices: as the noise
    belongs to examples, more of them at once change no number.
    """
    order = np.arange(len(needed))
    batch_size = full_rows(batch_size, num_devices)
    return _plan(order, _assign(needed, widths), batch_size, len(widths), num_devices)


def full_rows(batch_size: int, num_devices: int) -> int:
    """Rounds the rows of a batch up, so that each device has equally many."""
    return num_devices * math.ceil(batch_size / num_devices)


def batches(split: Split, widths: tuple[int, ...], plan: Plan) -> Iterator[Batch]:
    """Gathers the batches of a plan on the host, as NumPy arrays.

    A batch is as wide as its bucket even if no example of the split is: all splits then share a
    compiled function.
    """
    for bucket, index, weight in zip(*plan, strict=True):
        x, condition = split.take(index)
        yield Batch(resized(x, widths[bucket]), condition, index, weight)
