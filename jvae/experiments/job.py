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
from jvae.experiments.objective import (
    make_adversary,
    make_loss,
    make_rate_control,
    make_terms,
    make_trained_model,
)
from jvae.experiments.setup import Data
from jvae.random import Stream, stream
from jvae.training.feed import Feed, inner_rows, own_row, resident, streamed
from jvae.training.loop import Job, at_row
from jvae.training.measured import with_measured
from jvae.training.memory import Memory, fit
from jvae.training.parallel import Parallel
from jvae.training.state import TrainState
from jvae.training.steps import DeviceCorpus, StepSettings, make_step
from jvae.vae import VAE


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
        train_split.lengths,
        data.buckets.widths,
        config.training.batch_size,
        seed=config.training.seed,
        num_devices=parallel.row_shards,
        max_batches=config.training.max_batches or None,
    )
    first_plan = plan(epoch=0)
    schedules = make_schedules(config, len(first_plan.bucket))
    optimiser, inner_optimiser = make_optimisers(config)
    control = make_rate_control(config)

    def weight_now(state: TrainState) -> Any:
        if control is not None:
            return control.kl_weight(state.rate_control)
        return schedules["kl_weight"](int(state.step))

    # Evaluated before the step and given to it: methods that differ in schedules share a program.
    @jax.jit
    def tabulate(steps: jax.Array) -> dict[str, jax.Array]:
        tables = {name: jnp.asarray(schedule(steps)) for name, schedule in schedules.items()}
        return {name: jnp.broadcast_to(table, steps.shape) for name, table in tables.items()}

    def schedules_at(steps: np.ndarray) -> dict[str, np.ndarray]:
        return {name: np.asarray(table) for name, table in tabulate(steps).items()}

    def build(microbatches: int) -> Any:
        settings = StepSettings(
            widths=data.buckets.widths,
            clip_norm=config.training.clip_norm,
            num_samples=config.objective.num_samples,
            microbatches=microbatches,
            inner=make_inner_loop(config),
            terms=make_terms(config),
            rate_control=control,
            adversary=make_adversary(config),
        )
        step = make_step(
            make_trained_model(config, model),
            make_loss(config),
            optimiser,
            inner_optimiser,
            settings,
            parallel.sharding,
        )
        step = with_measured(step, model.encoder, settings.widths, parallel.sharding.rows)
        return parallel.compile(step)

    key = parallel.replicate(jax.random.key(config.training.seed))
    feed = make_feed(config, data, parallel)
    if config.training.parallel == "pmap":
        step, memory, microbatches = build(1), None, 1
    else:
        rows = first_plan.index.shape[1] // parallel.row_shards
        with closing(feed.steps(first_plan, 0, 0, False)) as steps:
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
        noise, sentences = stream(key, Stream.EVALUATION), len(valid.split.lengths)
        # Only the estimate of MI looks at the samples.
        terms = programs.posterior(state.params, valid, sentences, noise, keep_z=has_mi)
        return training_figures(terms, config.evaluation.mi_batch_size, has_mi=has_mi)

    def reset_optimisers(state: TrainState) -> TrainState:
        return state._replace(
            opt_state=optimiser.init(state.params),
            inner_opt_state=inner_optimiser.init(state.params["encoder"]),
        )

    job = Job(
        step=step,
        key=key,
        feed=feed,
        plan=lambda epoch: plan(epoch=epoch),
        place_state=parallel.place_state,
        validate=validate,
        score=partial(score, config),
        reset_optimisers=reset_optimisers,
        schedules=schedules_at,
        kl_weight=weight_now,
        settings=make_control(config),
        meta=meta,
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


def make_feed(config: ConfigDict, data: Data, parallel: Parallel) -> Feed:
    """Training sentences from the devices' memory, or from the host's disk."""
    split = data.splits["train"]
    if not config.data.stream:
        corpus = DeviceCorpus(jnp.asarray(split.tokens), jnp.asarray(split.lengths))
        return resident(parallel.replicate(corpus), parallel.replicate)
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
