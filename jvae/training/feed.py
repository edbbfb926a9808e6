"""What each step of an epoch reads: the corpus on the devices, or its own sentences only."""

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jvae.data.batching import Plan
from jvae.data.encoding import Split
from jvae.data.streaming import ahead, read_rows
from jvae.random import Stream, stream
from jvae.training.steps import DeviceCorpus, DevicePlan, inner_row
from jvae.types import Array, Key

Steps = Generator[tuple[DeviceCorpus, DevicePlan, np.int32], None, None]
RowsOfStep = Callable[[Any, Any, Any], Any]  # (step, row, num_rows) -> [R]


class Feed(NamedTuple):
    """The way of the sentences to the step.

    Attributes:
      steps: (plan, epoch, first row, aggressive) -> the last arguments of each step from there to
        the end of the epoch, on the devices.
      plan_row: (plan, step, row) -> the plan's row that the step knows as `row`.
    """

    steps: Callable[[Plan, int, int, bool], Steps]
    plan_row: Callable[[Plan, int, int], int]


def resident(corpus: DeviceCorpus, replicate: Callable[[Any], Any]) -> Feed:
    """All sentences lie on the devices.

    Args:
      corpus: there already.
      replicate: host arrays -> devices.
    """

    def steps(plan: Plan, epoch: int, first: int, aggressive: bool) -> Steps:
        del epoch, aggressive
        device_plan = replicate(DevicePlan(*map(jnp.asarray, plan)))
        for row in range(first, len(plan.bucket)):
            yield corpus, device_plan, np.int32(row)

    return Feed(steps, lambda plan, step, row: row)


def streamed(
    split: Split, rows_of_step: RowsOfStep, capacity: int, replicate: Callable[[Any], Any]
) -> Feed:
    """Sentences lie on the host, and those of a step go to the devices ahead of it.

    Args:
      split: in memory or on disk.
      rows_of_step: `own_row`, or compiled `inner_rows`.
      capacity: rows that a step is given, of which it visits the first only outside the
        aggressive phase: one program serves both.
      replicate: host arrays -> devices; called in threads.
    """

    def steps(plan: Plan, epoch: int, first: int, aggressive: bool) -> Steps:
        num_rows = len(plan.bucket)

        def load(row: int) -> tuple[DeviceCorpus, DevicePlan]:
            draw = rows_of_step if aggressive else own_row
            drawn = np.asarray(draw(epoch * num_rows + row, row, num_rows))
            fields: list[Any] = list(read_rows(split, plan, drawn, capacity))
            return replicate((DeviceCorpus(*fields[:3]), DevicePlan(*fields[3:])))

        with closing(ahead(load, first, num_rows)) as loaded:
            for corpus, device_plan in loaded:
                yield corpus, device_plan, np.int32(0)

    def plan_row(plan: Plan, step: int, row: int) -> int:
        num_rows = len(plan.bucket)
        return int(rows_of_step(step, step % num_rows, num_rows)[row])

    return Feed(steps, plan_row)


def own_row(step: Any, row: Any, num_rows: Any) -> Any:
    """Outside the aggressive phase: `[1]`, the step's own row."""
    del step, num_rows
    return np.array([row])


def inner_rows(key: Key, count: int, step: Array, row: Array, num_rows: Array) -> Array:
    """The plan's rows `[count]` that the inner loop of a step visits, were it to last so long."""
    key = stream(key, Stream.TRAINING, step)
    numbers = jnp.arange(count)
    return jax.vmap(inner_row, in_axes=(None, 0, None, None))(key, numbers, row, num_rows)
