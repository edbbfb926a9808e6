"""Rows of an epoch's plan with their sentences, read ahead of their use by `grain`."""

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import numpy as np

from jvae.data.batching import Plan
from jvae.data.encoding import Split

# Two threads keep a step ahead of the device; more would take the cores from it.
THREADS, AHEAD = 2, 8


class Rows(NamedTuple):
    """R rows of a plan, of B sentences each.

    Attributes:
      tokens: `[R * B, T + 1]` int32.
      lengths: `[R * B]` int32.
      numbers: `[R * B]` int32, the sentences' numbers in their split.
      bucket: `[R]` int32.
      index: `[R, B]` int32, into `tokens`.
      weight: `[R, B]` float32.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    numbers: np.ndarray
    bucket: np.ndarray
    index: np.ndarray  # type: ignore[assignment]  # not tuple.index
    weight: np.ndarray


def read_rows(split: Split, plan: Plan, rows: np.ndarray, capacity: int) -> Rows:
    """The rows `rows` `[r]` of a plan, filled up with zeros to R = `capacity`."""
    numbers = plan.index[rows].ravel()
    size = plan.index.shape[1]

    def fill(field: np.ndarray, length: int) -> np.ndarray:
        return np.pad(field, [(0, length - len(field))] + [(0, 0)] * (field.ndim - 1))

    return Rows(
        fill(split.tokens[numbers], capacity * size),
        fill(split.lengths[numbers], capacity * size),
        fill(numbers, capacity * size),
        fill(plan.bucket[rows], capacity),
        np.arange(capacity * size, dtype=np.int32).reshape(capacity, size),
        fill(plan.weight[rows], capacity),
    )


def ahead(load: Callable[[int], Any], first: int, last: int) -> Generator[Any, None, None]:
    """`load(first), .., load(last - 1)` in order, each computed before it is asked for.

    Close the generator to end the threads.
    """
    import grain  # a second of start-up that only streamed runs need

    dataset = grain.MapDataset.range(first, last).map(lambda number: load(int(number)))
    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=AHEAD)
    elements = iter(dataset.to_iter_dataset(options))
    try:
        yield from elements
    finally:
        elements.close()
