"""A configuration and its data as a training job: the compiled step and what it works on."""

from contextlib import closing
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jvae.data.batching import epoch_plan
from jvae.evaluation.evaluate import families, training_figures
from jvae.evaluation.programs import Programs, SplitBatches
from jvae.experiments.building import (
    last_kl_weight,
    make_control,
    make_inner_loop,
    make_optimisers,
    make_schedules,
)
from jvae.experiments.config import PRECISIONS
from jvae.experiments.objective import make_objective
from jvae.experiments.setup import Data
from jvae.model import VAE
from jvae.random import Stream, stream
from jvae.training.loop import Job, at_row
from jvae.training.memory import Memory, fit
from jvae.training.parallel import Parallel
from jvae.training.pipeline import Pipeline, inner_rows, own_row, resident, streamed
from jvae.training.state import TrainState
from jvae.training.steps import DeviceData, StepSettings, make_step


def make_job(
    config: ConfigDict,
    model: VAE,
    programs: Programs,
    data: Data,
    parallel: Parallel,
    state: TrainState,
    meta: dict[str, Any],
) -> tuple[Job, Memory | None, int]:
    """What the training loop needs besides its state; a step's memory and its microbatches."""
    train_split = data.splits["train"]
    plan = partial(
        epoch_plan,
        train_split.widths,
        data.buckets.widths,
        config.training.batch_size,
        seed=config.training.seed,
        num_devices=parallel.row_shards,
        max_batches=config.training.max_batches or None,
    )
    first_plan = plan(epoch=0)
    schedules = make_schedules(config, len(first_plan.bucket))
    vocab_size = data.vocab_size
    dtype = PRECISIONS[config.training.precision]
    objective = make_objective(config, model, vocab_size, dtype)
    optimisers = make_optimisers(config, objective)

    def describe(state: TrainState) -> dict[str, Any]:
        scheduled = {"kl_weight": schedules["kl_weight"](int(state.step))}
        return {"kl_weight": objective.describe(state.carried, scheduled)["kl_weight"]}

    # Evaluated before the step and given to it: methods that differ in schedules share a program.
    @jax.jit
    def tabulate(steps: jax.Array) -> dict[str, jax.Array]:
        tables = {name: jnp.asarray(schedule(steps)) for name, schedule in schedules.items()}
        return {name: jnp.broadcast_to(table, steps.shape) for name, table in tables.items()}

    def schedules_at(steps: np.ndarray) -> dict[str, np.ndarray]:
        return {name: np.asarray(table) for name, table in tabulate(steps).items()}

    def build(microbatches: int) -> Any:
        settings = StepSettings(data.buckets.widths, microbatches, make_inner_loop(config))
        return parallel.compile(make_step(objective, optimisers, settings, parallel.sharding))

    key = parallel.replicate(jax.random.key(config.training.seed))
    pipeline = make_pipeline(config, data, parallel)
    if config.training.parallel == "pmap":
        step, memory, microbatches = build(1), None, 1
    else:
        rows = first_plan.index.shape[1] // parallel.row_shards
        with closing(pipeline.inputs(first_plan, 0, 0, False)) as steps:
            arguments = (state, key, *next(steps), at_row(schedules_at(np.arange(1)), 0))
        step, microbatches, memory = fit(
            lambda parts: build(parts).lower(*arguments).compile(),
            [parts for parts in range(1, rows + 1) if rows % parts == 0],
            int(config.training.memory_gb * 2**30),
            what="a training step even in {} microbatches",
            cure="model.hidden_size or data.max_size",
        )
    valid = split_batches(config, data, "valid", parallel)
    has_mi = families(model, state.params, next(iter(valid)), key).has_mi

    def validate(state: TrainState) -> dict[str, Any]:
        # The same noise at every epoch: epochs differ by their parameters only.
        noise, sentences = stream(key, Stream.EVALUATION), len(valid.split)
        # Only the estimate of MI looks at the samples.
        terms = programs.posterior(state.params, valid, sentences, noise, keep_z=has_mi)
        return training_figures(terms, config.evaluation.mi_batch_size, has_mi=has_mi)

    def reset_optimisers(state: TrainState) -> TrainState:
        opt_state, inner_opt_state, _ = optimisers.init(state.params)
        return state._replace(opt_state=opt_state, inner_opt_state=inner_opt_state)

    job = Job(
        step=step,
        key=key,
        pipeline=pipeline,
        plan=lambda epoch: plan(epoch=epoch),
        place_state=parallel.place_state,
        validate=validate,
        score=partial(score, config),
        reset_optimisers=reset_optimisers,
        schedules=schedules_at,
        describe=describe,
        summary=summary,
        settings=make_control(config),
        meta=meta,
        row="sentence",
    )
    return job, memory, microbatches


def score(config: ConfigDict, figures: dict[str, Any]) -> float:
    """What the best epoch has most of, nats per sentence.

    Args:
      config: all of it.
      figures: of the validation split, see `jvae.evaluation.evaluate.training_figures`.
    """
    # An autoencoder's KL grows: by the ELBO at full weight its first epoch would be its best.
    weight = last_kl_weight(config)
    if weight == 0:
        return float(-figures["rec"])
    if config.objective.loss == "by_name":  # likewise, by the last weights that it learns by
        of_terms = {"kl_gaussian": figures["kl"]} | figures  # one vector has but one KL
        kl = sum(
            config.objective[f"{name}_weight"] * of_terms.get(f"kl_{name}{of}", 0.0)
            for name in ("gaussian", "dirichlet")
            for of in ("", "_layers")
        )
        length = of_terms.get("kl_length", 0.0)  # of weight 1, as in the loss
        return float(-figures["rec"] - weight * kl - length)
    return float(figures["elbo"])


def summary(record: dict[str, Any]) -> str:
    """Tells an epoch in one line."""
    mi = f"mi {record['mi']:.2f}  " if "mi" in record else ""
    au = f"au {record['au']}  " if "au" in record else ""
    vectors = f"vectors {record['vectors']:.2f}  " if "vectors" in record else ""
    return (
        f"epoch {record['epoch']}: valid elbo {record['elbo']:.2f}  rec {record['rec']:.2f}  "
        f"kl {record['kl']:.2f}  {mi}{au}{vectors}"
        f"kl weight {record['kl_weight']:.2f}  {record['seconds']:.0f} s"
    )


def make_pipeline(config: ConfigDict, data: Data, parallel: Parallel) -> Pipeline:
    """Training sentences from the devices' memory, or from the host's disk."""
    split = data.splits["train"]
    if not config.data.stream:
        device_data = jax.tree.map(jnp.asarray, DeviceData(split.x, split.condition))
        return resident(parallel.replicate(device_data), parallel.replicate)
    inner = make_inner_loop(config)
    if inner is None:
        return streamed(split, own_row, 1, parallel.replicate)
    draw = jax.jit(partial(inner_rows, jax.random.key(config.training.seed), inner.max_updates))
    return streamed(split, draw, inner.max_updates, parallel.replicate)


def split_batches(config: ConfigDict, data: Data, name: str, parallel: Parallel) -> SplitBatches:
    """A split in evaluation batches, spread over the devices."""
    return SplitBatches(
        data.splits[name],
        data.buckets.widths,
        config.evaluation.batch_size,
        parallel.row_shards,
    )
