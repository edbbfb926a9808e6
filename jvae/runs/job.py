"""A configuration and its data as a training job: the compiled step and what it works on."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jvae.data.batching import epoch_plan
from jvae.evaluation.evaluate import epoch_line, validation_metrics
from jvae.evaluation.evidence import Evidence
from jvae.evaluation.functions import Functions, SplitBatches
from jvae.evaluation.settings import make_evaluation_settings
from jvae.runs.task import Data, Task
from jvae.training.loop import Job, at_row
from jvae.training.memory import Memory, fit
from jvae.training.parallel import Parallel
from jvae.training.pipeline import Pipeline, inner_rows, own_row, resident, streamed
from jvae.training.settings import (
    PRECISIONS,
    make_control,
    make_inner_loop,
    make_optimisers,
    make_rates,
)
from jvae.training.state import TrainState
from jvae.training.steps import DeviceData, Step, StepSettings, make_step
from jvae.types import Key, Schedule


def make_job(
    task: Task,
    config: ConfigDict,
    functions: Functions,
    data: Data,
    parallel: Parallel,
    state: TrainState,
    meta: dict[str, Any],
) -> tuple[Job, Memory | None, int]:
    """Makes what the training loop needs besides its state.

    Args:
      task: of the run.
      config: all of it.
      functions: compiled, for validation; their products are not rounded, training's may be.
      data: the corpus.
      parallel: the devices.
      state: the first, on the devices.
      meta: written with every checkpoint.

    Returns:
      The job, a step's memory, and the microbatches in which it fits.
    """
    options = config.training
    dtype = PRECISIONS[options.precision]
    model = task.build(config, data.resources, dtype)
    objective = task.objective(config, model, data.resources, dtype)
    optimisers = make_optimisers(config, objective)
    plan = partial(
        epoch_plan,
        data.splits["train"].widths,
        data.buckets.widths,
        options.batch_size,
        seed=options.seed,
        num_devices=parallel.row_shards,
        max_batches=options.max_batches or None,
    )
    first_plan = plan(epoch=0)
    steps = len(first_plan.bucket)
    schedules = dict(task.schedules(config, steps))
    tabulate = tabulated(schedules | make_rates(config, steps))

    def describe(state: TrainState) -> dict[str, Any]:
        step = int(state.step)
        now = {name: schedule(step) for name, schedule in schedules.items()}
        return objective.describe(state.carried, now)

    def build(microbatches: int) -> Step:
        settings = StepSettings(data.buckets.widths, microbatches, make_inner_loop(config))
        return parallel.compile(make_step(objective, optimisers, settings, parallel.sharding))

    key = parallel.replicate(jax.random.key(options.seed))
    pipeline = make_pipeline(config, data, parallel)
    if options.parallel == "pmap":
        step, memory, microbatches = build(1), None, 1
    else:
        rows = first_plan.index.shape[1] // parallel.row_shards
        with closing(pipeline.inputs(first_plan, 0, 0, False)) as inputs:
            arguments = (state, key, *next(inputs), at_row(tabulate(np.arange(1)), 0))

        def compiled(parts: int) -> Any:
            jitted: Any = build(parts)
            return jitted.lower(*arguments).compile()

        step, microbatches, memory = fit(
            compiled,
            [parts for parts in range(1, rows + 1) if rows % parts == 0],
            int(options.memory_gb * 2**30),
            what="a training step even in {} microbatches",
            cure="model.hidden_size or the size of the data",
        )

    def reset_optimisers(state: TrainState) -> TrainState:
        opt_state, inner_opt_state, _ = optimisers.init(state.params)
        return state._replace(opt_state=opt_state, inner_opt_state=inner_opt_state)

    job = Job(
        step=step,
        key=key,
        pipeline=pipeline,
        plan=lambda epoch: plan(epoch=epoch),
        place_state=parallel.place_state,
        validate=make_validation(task, config, functions, data, parallel, key),
        score=partial(task.score, config),
        reset_optimisers=reset_optimisers,
        schedules=tabulate,
        describe=describe,
        summary=partial(epoch_line, task.metrics),
        settings=make_control(config),
        meta=meta,
        row=task.nouns.row,
    )
    return job, memory, microbatches


def make_validation(
    task: Task,
    config: ConfigDict,
    functions: Functions,
    data: Data,
    parallel: Parallel,
    key: Key,
) -> Callable[[TrainState], dict[str, Any]]:
    """Makes what measures the validation split after each epoch."""
    split = split_batches(config, data, "valid", parallel)
    settings = make_evaluation_settings(config)

    def validate(state: TrainState) -> dict[str, Any]:
        # All epochs share their noise: they differ by their parameters only.
        evidence = Evidence(functions, state.params, split, key, settings, task.nouns, lean=True)
        return validation_metrics(task.metrics, evidence)

    return validate


def tabulated(
    schedules: dict[str, Schedule],
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Evaluates schedules before the steps: runs that differ in them share a compiled step.

    Returns:
      steps `[M]` -> the values of each schedule by name, `[M]`.
    """

    @jax.jit
    def tabulate(steps: jax.Array) -> dict[str, jax.Array]:
        tables = {name: jnp.asarray(schedule(steps)) for name, schedule in schedules.items()}
        return {name: jnp.broadcast_to(table, steps.shape) for name, table in tables.items()}

    def schedules_at(steps: np.ndarray) -> dict[str, np.ndarray]:
        # float32, whatever a constant's type: another type would be another compiled step.
        return {name: np.asarray(table, np.float32) for name, table in tabulate(steps).items()}

    return schedules_at


def make_pipeline(config: ConfigDict, data: Data, parallel: Parallel) -> Pipeline:
    """Makes the input pipeline: examples in the devices' memory, or on the host's disk."""
    split = data.splits["train"]
    if not config.data.get("stream", False):
        device_data = jax.tree.map(jnp.asarray, DeviceData(split.x, split.condition))
        return resident(parallel.replicate(device_data), parallel.replicate)
    inner = make_inner_loop(config)
    if inner is None:
        return streamed(split, own_row, 1, parallel.replicate)
    draw = jax.jit(partial(inner_rows, jax.random.key(config.training.seed), inner.max_updates))
    return streamed(split, draw, inner.max_updates, parallel.replicate)


def split_batches(config: ConfigDict, data: Data, name: str, parallel: Parallel) -> SplitBatches:
    """Cuts a split into evaluation batches, spread over the devices."""
    return SplitBatches(
        data.splits[name],
        data.buckets.widths,
        config.evaluation.batch_size,
        parallel.row_shards,
    )
