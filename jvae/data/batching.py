"""Padded length buckets and the order in which an epoch visits them."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jvae.types import PAD, Array, Batch


class Buckets(NamedTuple):
    """Few shapes for all sentences.

    Attributes:
      widths: predicted tokens that each bucket holds, ascending.
      waste: share of the padded batch that is padding.
    """

    widths: tuple[int, ...]
    waste: float

    def __str__(self) -> str:
        widths = ", ".join(map(str, self.widths))
        return (
            f"{len(self.widths)} length buckets (up to {widths} tokens), {self.waste:.1%} padding"
        )


class Plan(NamedTuple):
    """The batches of one epoch, in order.

    Attributes:
      bucket: `[M]` int32, which width.
      index: `[M, B]` int32, sentence numbers; a filling row repeats the batch's first sentence.
      weight: `[M, B]` float32, 0 for filling rows.
    """

    bucket: np.ndarray
    index: np.ndarray  # type: ignore[assignment]  # not tuple.index
    weight: np.ndarray


def choose_buckets(lengths: np.ndarray, max_buckets: int) -> Buckets:
    """The at most `max_buckets` widths with the least padding, found exactly.

    Dynamic programming over the distinct lengths: `cost[k][j]`, the padded tokens of all sentences
    up to length j in k buckets, is `min_i cost[k-1][i] + count(i, j] * length_j`.

    Args:
      lengths: `[N]`, predicted tokens per sentence.
      max_buckets: each costs one compilation of each program.
    """
    values, counts = np.unique(lengths, return_counts=True)
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
    real, total = float(lengths.sum()), float(costs[-1])
    return Buckets(tuple(widths), 1.0 - real / total)


def _assign(lengths: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    if lengths.max() > widths[-1]:
        raise ValueError(f"a sentence of {lengths.max()} tokens fits no bucket of {widths}")
    return np.searchsorted(np.asarray(widths), lengths)


def _plan(
    order: np.ndarray, buckets: np.ndarray, batch_size: int, num_widths: int, num_devices: int
) -> Plan:
    """Cuts each bucket's sentences, taken in `order`, into batches of `batch_size`."""
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
    lengths: np.ndarray,
    widths: tuple[int, ...],
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    num_devices: int = 1,
    max_batches: int | None = None,
) -> Plan:
    """One epoch: sentences shuffled within buckets, then batches shuffled, from (seed, epoch).

    Args:
      lengths: `[N]`, predicted tokens per sentence.
      widths: the buckets.
      batch_size: B; each bucket's last batch is filled up with rows of weight 0.
      seed: the run's seed.
      epoch: the order of an epoch depends on nothing else, so that a resumed run continues it.
      num_devices: rows are filled up to a multiple of it.
      max_batches: only the first so many batches of the order.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    plan = _plan(order, _assign(lengths, widths), batch_size, len(widths), num_devices)
    chosen = rng.permutation(len(plan.bucket))[:max_batches]
    return Plan(*(field[chosen] for field in plan))


def corpus_plan(
    lengths: np.ndarray, widths: tuple[int, ...], batch_size: int, *, num_devices: int = 1
) -> Plan:
    """Every sentence once, in the corpus' own order within each bucket: for evaluation.

    Batches are of at least `batch_size` sentences, in full rows of the devices: as the noise
    belongs to sentences, more of them at once change no number.
    """
    order = np.arange(len(lengths))
    batch_size = full_rows(batch_size, num_devices)
    return _plan(order, _assign(lengths, widths), batch_size, len(widths), num_devices)


def full_rows(batch_size: int, num_devices: int) -> int:
    """The rows of a batch, each device with equally many."""
    return num_devices * math.ceil(batch_size / num_devices)


def take_batch(tokens: Array, lengths: Array, index: Array, weight: Array, width: int) -> Batch:
    """Gathers sentences; works inside `jit`, on the device where the corpus lies.

    Args:
      tokens: `[N, T_max + 1]`.
      lengths: `[N]`.
      index: `[B]`.
      weight: `[B]`.
      width: predicted tokens that the batch holds.
    """
    rows = jnp.take(tokens[:, : width + 1], index, axis=0)
    return Batch(rows, jnp.take(lengths, index), index, weight)


def batches(
    tokens: Any, lengths: np.ndarray, widths: tuple[int, ...], plan: Plan
) -> Iterator[Batch]:
    """The batches of a plan, gathered on the host, as NumPy arrays; `tokens` as in `Split`.

    As wide as their bucket even if no sentence of the split is: all splits share a program.
    """
    missing = max(0, widths[-1] + 1 - tokens.shape[1])
    for bucket, index, weight in zip(*plan, strict=True):
        rows = np.pad(tokens[index], ((0, 0), (0, missing)), constant_values=PAD)
        fields: Any = (rows[:, : widths[bucket] + 1], lengths[index], index, weight)
        yield Batch(*fields)
