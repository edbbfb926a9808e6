"""The input pipeline: each step reads the split on the devices, or its own examples only."""

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jvae.data.batching import Plan
from jvae.data.split import Split
from jvae.data.streaming import ahead, read_part
from jvae.random import Stream, stream
from jvae.training.steps import DeviceData, DevicePlan, inner_row
from jvae.types import Array, Key

Inputs = Generator[tuple[DeviceData, DevicePlan, np.int32], None, None]


class RowsOfStep(Protocol):
    """Names the plan's rows that a step visits."""

    def __call__(self, step: Any, row: Any, num_rows: Any) -> Any:
        """Returns `[R]`."""
        ...


class Pipeline(NamedTuple):
    """Brings examples to the step.

    Attributes:
      inputs: (plan, epoch, first row, aggressive) -> data, plan and row of each step from there to
        the end of the epoch, on the devices.
      plan_row: (plan, step, row) -> the plan's row that the step knows as `row`.
    """

    inputs: Callable[[Plan, int, int, bool], Inputs]
    plan_row: Callable[[Plan, int, int], int]


def resident(data: DeviceData, replicate: Callable[[Any], Any]) -> Pipeline:
    """Keeps all examples on the devices.

    Args:
      data: there already.
      replicate: host arrays -> devices.
    """

    def inputs(plan: Plan, epoch: int, first: int, aggressive: bool) -> Inputs:
        del epoch, aggressive
        device_plan = replicate(DevicePlan(*map(jnp.asarray, plan)))
        for row in range(first, len(plan.bucket)):
            yield data, device_plan, np.int32(row)

    return Pipeline(inputs, lambda plan, step, row: row)


def streamed(
    split: Split, rows_of_step: RowsOfStep, capacity: int, replicate: Callable[[Any], Any]
) -> Pipeline:
    """Keeps examples on the host, and sends those of a step to the devices ahead of it.

    Args:
      split: in memory or on disk.
      rows_of_step: `own_row`, or compiled `inner_rows`.
      capacity: rows that a step is given, of which it visits the first only outside the
        aggressive phase: one compiled step serves both.
      replicate: host arrays -> devices; called in threads.
    """

    def inputs(plan: Plan, epoch: int, first: int, aggressive: bool) -> Inputs:
        num_rows = len(plan.bucket)

        def load(row: int) -> tuple[DeviceData, DevicePlan]:
            draw = rows_of_step if aggressive else own_row
            drawn = np.asarray(draw(epoch * num_rows + row, row, num_rows))
            part = read_part(split, plan, drawn, capacity)
            data = DeviceData(part.x, part.condition, part.numbers)  # type: ignore[arg-type]
            return replicate((data, DevicePlan(*part.plan)))  # type: ignore[arg-type]

        with closing(ahead(load, first, num_rows)) as loaded:
            for data, device_plan in loaded:
                yield data, device_plan, np.int32(0)

    def plan_row(plan: Plan, step: int, row: int) -> int:
        num_rows = len(plan.bucket)
        return int(rows_of_step(step, step % num_rows, num_rows)[row])

    return Pipeline(inputs, plan_row)


def own_row(step: Any, row: Any, num_rows: Any) -> Any:
    """Returns the step's own row alone, `[1]`, as outside the aggressive phase."""
    del step, num_rows
    return np.array([row])


def inner_rows(key: Key, count: int, step: Array, row: Array, num_rows: Array) -> Array:
    """Returns the plan's rows that the inner loop visits if it makes all `count` updates."""
    key = stream(key, Stream.TRAINING, step)
    numbers = jnp.arange(count)
    return jax.vmap(inner_row, in_axes=(None, 0, None, None))(key, numbers, row, num_rows)
