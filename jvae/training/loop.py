"""The training loop, which reads the clock, takes signals and writes to the disk."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from jvae.data.batching import Plan
from jvae.errors import UserError
from jvae.training import checkpoint
from jvae.training.control import ControlSettings, end_epoch, finished
from jvae.training.logs import MetricsLog, Progress
from jvae.training.pipeline import Pipeline
from jvae.training.profile import Profiler
from jvae.training.state import TrainState
from jvae.training.steps import Step
from jvae.types import Key

# Steps dispatched before the host waits for them: few enough to answer a signal at once and to
# notice a fault, enough to keep the device busy.
SYNC_EVERY = 8
# Names of metrics in words.
TERMS = {"rec": "reconstruction", "kl": "KL"}
SPENT = "seconds"  # of a checkpoint's meta, in mid-epoch: how long the epoch has lasted


class Interrupted(Exception):
    """The run was asked to stop and has saved where it was."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Job(NamedTuple):
    """All that the loop needs besides its state.

    Attributes:
      step: compiled.
      key: the run's root key.
      pipeline: what its steps read.
      plan: epoch -> its batches.
      place_state: puts a state on the devices as the step returns it.
      validate: state -> metrics of the validation split, logged as they are; "mi" ends the
        aggressive phase.
      score: these -> a number that is highest in the best epoch.
      reset_optimisers: state -> state with fresh optimiser states, after a reload of the best.
      schedules: steps `[M]` -> the value of each schedule by name, `[M]`.
      describe: state -> numbers of the objective by name, for the log.
      summary: record of an epoch -> its line on the terminal.
      settings: limits.
      meta: written with every checkpoint.
      row: a noun for an example, in messages.
    """

    step: Step
    key: Key
    pipeline: Pipeline
    plan: Callable[[int], Plan]
    place_state: Callable[[TrainState], TrainState]
    validate: Callable[[TrainState], dict[str, Any]]
    score: Callable[[dict[str, Any]], float]
    reset_optimisers: Callable[[TrainState], TrainState]
    schedules: Callable[[np.ndarray], dict[str, np.ndarray]]
    describe: Callable[[TrainState], dict[str, Any]]
    summary: Callable[[dict[str, Any]], str]
    settings: ControlSettings
    meta: dict[str, Any]
    row: str = "example"


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # Python hands signals to the main thread, and lets it alone ask for them
        return
    previous = {}
    for signum in (signal.SIGINT, signal.SIGTERM):
        previous[signum] = signal.signal(signum, lambda number, frame: received.append(number))
    try:
        yield received
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def train(
    job: Job,
    state: TrainState,
    checkpoints: ocp.CheckpointManager,
    log: MetricsLog,
    progress: Progress,
    profiler: Profiler,
    print_line: Callable[[str], None],
) -> TrainState:
    """Trains epoch by epoch until the limits are reached.

    Raises:
      Interrupted: on SIGINT or SIGTERM, after a checkpoint.
      UserError: a term became non-finite, or a checkpoint could not be written.
    """
    # The epoch in whose middle the latest checkpoint lies.
    spent = (checkpoint.load_meta(checkpoints) or {}).get(SPENT, 0.0)
    with _signals() as received:
        while not finished(state, job.settings):
            state, record = _epoch(job, state, spent, checkpoints, progress, profiler, received)
            spent = 0.0
            validation = job.validate(state)
            score = job.score(validation)
            if not math.isfinite(score):
                raise UserError(
                    f"the validation score became non-finite after step {record['step']}; "
                    f"{_advice(checkpoints)}"
                )
            record |= validation
            # Absent for posteriors that have no estimator of it; only the aggressive phase asks.
            mi = validation.get("mi", 0.0)
            state, decision = end_epoch(state, score, mi, job.settings)
            if decision.reload_best:
                like = checkpoint.shapes(state)
                # Let go of first: two whole states would be the peak of the run's memory.
                state = state._replace(
                    params=None, opt_state=None, inner_opt_state=None, own_opt_states={}
                )
                best = checkpoint.restore(checkpoints, like, best=True)
                # All that an objective learns and counts belongs to one encoder: it returns too.
                state = state._replace(
                    params=best.params, own_opt_states=best.own_opt_states, carried=best.carried
                )
                del best  # and with it the optimisers' states
                state = job.reset_optimisers(state)
            # Back onto the devices as the step returns it: another placement would recompile.
            state = job.place_state(state)
            # The log first: should the process die before the checkpoint, the resumed run cuts
            # this line and writes it again.
            log.write(record)
            checkpoint.save(checkpoints, state, job.meta, score if decision.is_best else None)
            print_line(job.summary(record) + ("  (best)" if decision.is_best else ""))
            if decision.phase_ended:
                print_line("mutual information fell: the aggressive phase is over")
            if decision.reload_best:
                print_line(f"plateau: best parameters reloaded, rate x {float(state.lr_scale):g}")
        # One that came after the last step was asked about would be lost; all is saved.
        signum = _asked_to_stop(received, 0)
        if signum:
            raise Interrupted(signum)
    return state


def _epoch(
    job: Job,
    state: TrainState,
    spent: float,
    checkpoints: ocp.CheckpointManager,
    progress: Progress,
    profiler: Profiler,
    received: list[int],
) -> tuple[TrainState, dict[str, Any]]:
    """Runs the rest of the current epoch, which has lasted `spent` s; returns its record too."""
    number = int(state.epoch)
    host_plan = job.plan(number)
    rows = len(host_plan.bucket)
    first = int(state.step) - number * rows
    aggressive = bool(state.aggressive)
    scheduled = job.schedules(number * rows + np.arange(rows))
    start = time.monotonic() - spent
    progress.start_epoch(first / rows)
    with closing(job.pipeline.inputs(host_plan, number, first, aggressive)) as steps:
        for row in range(first, rows):
            signum = _asked_to_stop(received, row)
            if signum:
                meta = job.meta | {SPENT: time.monotonic() - start}
                checkpoint.save(checkpoints, state, meta, None)
                raise Interrupted(signum)
            inputs = next(steps)
            profiler.before_step()
            state = job.step(state, job.key, *inputs, at_row(scheduled, row))
            profiler.after_step(state)
            if (row + 1) % SYNC_EVERY == 0 or row + 1 == rows or aggressive:
                _check(job, state, host_plan, checkpoints)
                totals = _numbers(state.totals)
                progress.update(number + 1, (row + 1) / rows, totals, aggressive=aggressive)
    totals = _numbers(state.totals)
    record = {
        "epoch": number + 1,
        "step": int(state.step),
        "train_loss": totals.loss / totals.rows,
        **{f"train_{name}": total / totals.rows for name, total in totals.metrics.items()},
        **{name: float(value) for name, value in job.describe(state).items()},
        "lr_scale": float(state.lr_scale),
        "aggressive": aggressive,
        "inner_updates": totals.inner_updates,
        "grad_norm": totals.grad_norm / totals.updates,
        "clipped": totals.clipped / totals.updates,
        "seconds": time.monotonic() - start,
    }
    return state, record


def _numbers(scalars: Any) -> Any:
    """Fetches scalars as Python numbers, all at once: one by one each would wait."""
    return jax.tree.map(lambda scalar: scalar.item(), jax.device_get(scalars))


def at_row(scheduled: dict[str, np.ndarray], row: int) -> dict[str, Any]:
    """Takes one step's values of an epoch's schedules."""
    return {name: values[row] for name, values in scheduled.items()}


def _asked_to_stop(received: list[int], row: int) -> int:
    """Returns the signal that this or another process received, or 0."""
    mine = received[0] if received else 0
    if jax.process_count() == 1:
        return mine
    if row % SYNC_EVERY != 0:  # all processes must stop at the same step, so they ask each other
        return 0
    return int(multihost_utils.process_allgather(np.int32(mine)).max())


def _check(job: Job, state: TrainState, plan: Plan, checkpoints: ocp.CheckpointManager) -> None:
    fault = _numbers(state.fault)
    if fault.term == 0:
        return
    row = job.pipeline.plan_row(plan, fault.step, fault.row)
    numbers = plan.index[row][plan.weight[row] > 0].tolist()
    term = [*sorted(state.totals.metrics), "gradient"][fault.term - 1]
    where = f"step {fault.step}" + (f", inner update {fault.inner}" if fault.inner >= 0 else "")
    raise UserError(
        f"the {TERMS.get(term, term)} became non-finite at {where}, training {job.row}s "
        f"{numbers}; {_advice(checkpoints)}"
    )


def _advice(checkpoints: ocp.CheckpointManager) -> str:
    step = checkpoints.latest_step()
    kept = "no checkpoint exists yet" if step is None else f"the checkpoint of step {step} is good"
    return (
        f"{kept}: lower training.learning_rate or training.clip_norm and train anew, in another "
        "--workdir"
    )
