"""Examples of an epoch's plan, read ahead of their use by `grain`."""

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import jax
import numpy as np

from jvae.data.batching import Plan
from jvae.data.split import Split

# Two threads keep a step ahead of the device; more would take the cores from it.
THREADS, AHEAD = 2, 8


class Part(NamedTuple):
    """R rows of a plan, of B examples each.

    Attributes:
      x: observations, leading axis `R * B`.
      condition: likewise, or None.
      numbers: `[R * B]` int32, the examples' numbers in their split.
      plan: of these rows, its `index` into `x`.
    """

    x: Any
    condition: Any
    numbers: np.ndarray
    plan: Plan


def read_part(split: Split, plan: Plan, rows: np.ndarray, capacity: int) -> Part:
    """Reads the rows `rows` `[r]` of a plan, padded with zeros to R = `capacity`."""
    numbers, size = plan.index[rows].ravel(), plan.index.shape[1]

    def pad(leaf: np.ndarray, length: int) -> np.ndarray:
        return np.pad(leaf, [(0, length - len(leaf))] + [(0, 0)] * (leaf.ndim - 1))

    x, condition = jax.tree.map(lambda leaf: pad(leaf, capacity * size), split.take(numbers))
    index = np.arange(capacity * size, dtype=np.int32).reshape(capacity, size)
    own_plan = Plan(pad(plan.bucket[rows], capacity), index, pad(plan.weight[rows], capacity))
    return Part(x, condition, pad(numbers, capacity * size), own_plan)


def ahead(load: Callable[[int], Any], first: int, last: int) -> Generator[Any, None, None]:
    """Yields `load(first), .., load(last - 1)`, each computed before it is asked for.

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
