"""One flow from a configuration to a report, for a run, its phases and a later evaluation."""

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict
from rich.console import Console

from jvae.components import check
from jvae.evaluation.evaluate import evaluate
from jvae.evaluation.evidence import Evidence
from jvae.evaluation.functions import Functions, make_functions
from jvae.evaluation.prior_fit import fit_prior
from jvae.evaluation.settings import make_evaluation_settings
from jvae.files import write_atomically
from jvae.plots import training_curves
from jvae.runs.directory import (
    RESULTS,
    TrainedRun,
    fingerprint,
    initial_state,
    is_finished,
    open_run,
    refuse_difference,
    save_config,
    save_prior,
    save_results,
    with_absolute_paths,
)
from jvae.runs.job import make_job, split_batches
from jvae.runs.lock import locked
from jvae.runs.memory import FittedEvaluation, fit_batches, fit_evaluation, forecast, measured
from jvae.runs.phases import (
    RECORD,
    cost,
    load_start,
    phase_key,
    record_of,
    start_from,
    with_groups,
)
from jvae.runs.process import Compilations, environment, prepare_process, require_devices
from jvae.runs.report import print_table
from jvae.runs.task import Data, Phase, Task
from jvae.training import checkpoint
from jvae.training.control import finished
from jvae.training.logs import MetricsLog, Progress, read_metrics
from jvae.training.loop import train
from jvae.training.parallel import MODES, Parallel, choose_devices, join_processes
from jvae.training.profile import Profiler
from jvae.training.settings import make_control
from jvae.training.state import num_parameters
from jvae.types import Params

Say = Callable[[str], None]


class Trained(NamedTuple):
    """The end of training.

    Attributes:
      run: the best epoch; its parameters are on the devices.
      functions: compiled, of its model.
      fitted: the batch sizes that fit into memory; None of a finished phase, which needs none.
      history: records of all epochs.
      predicted: the memory peak, bytes, if known.
    """

    run: TrainedRun
    functions: Functions
    fitted: FittedEvaluation | None
    history: list[dict[str, Any]]
    predicted: int | None


def run(
    task: Task,
    config: ConfigDict,
    workdir: Path,
    console: Console,
    *,
    source: Any = None,
    resources: Any = None,
    phases: Path | None = None,
) -> dict[str, Any]:
    """Trains (or goes on), evaluates, shows. The same call again continues where it was stopped.

    Args:
      task: what kind of work it is.
      config: all of it.
      workdir: the run directory.
      console: where it shows.
      source: `Data.source`, instead of the corpus that `config.data` names.
      resources: instead of those that the training split makes.
      phases: directory of earlier phases, by default in `workdir`. Several runs may share it, and
        none needs it once its own training has begun.

    Returns:
      The content of `results.json`.

    Raises:
      UserError: the configuration, the data or the run directory is at fault.
      jvae.training.loop.Interrupted: on SIGINT or SIGTERM, after a checkpoint.
    """
    start = time.monotonic()
    check(task.groups, config)
    config = with_absolute_paths(config)
    prepare_process()
    options = config.training
    join_processes(options.coordinator, options.num_processes, options.process_id)
    require_devices()
    first = jax.process_index() == 0
    # The first of several processes speaks, and writes all but the checkpoints' parts.
    console = console if first else Console(quiet=True)
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    parallel = make_parallel(task, config)
    with (
        jax.enable_x64(False),  # of a session with JAX_ENABLE_X64, which would widen a part of it
        Compilations() as compilations,
        tempfile.TemporaryDirectory(prefix="jvae-") as scratch,
        locked(workdir) if first else nullcontext(),
    ):
        files = workdir if first else Path(scratch)
        data = load_data(task, config, workdir, files, source, resources)
        for note in data.notes:
            say(f"data  {note}")
        trained = train_run(task, config, workdir, files, data, parallel, say, phases=phases)
        assert trained.fitted is not None
        results = evaluate_run(
            dataclasses.replace(trained.run, config=trained.fitted.config),
            trained.functions,
            data,
            parallel,
            console,
            iw_chunk=trained.fitted.iw_chunk,
            history=trained.history,
            split=config.evaluation.split,
        )
        say(measured(trained.predicted))
    say(f"\n{time.monotonic() - start:.0f} s in all; {compilations}; everything is in {workdir}")
    return results


def width_of(data: Data) -> int:
    """Returns the width of the widest training example, see `TrainedRun`."""
    return int(data.splits["train"].widths.max())


def make_parallel(task: Task, config: ConfigDict) -> Parallel:
    """Makes the devices' mesh that the configuration asks for."""
    options = config.training
    devices = choose_devices(options.num_devices or None)
    return MODES[options.parallel](devices, options.model_shards, task.split_axes)


def load_data(
    task: Task,
    config: ConfigDict,
    workdir: Path,
    files: Path,
    source: Any = None,
    resources: Any = None,
) -> Data:
    """Reads the corpus; a run that goes on has the resources of its directory.

    Raises:
      UserError: the data are at fault, or not those that the directory's run began with.
    """
    checkpoints, stored = open_run(task, config, workdir)
    checkpoints.close()
    if stored is not None:
        resources = task.resources.read(workdir)
    data = task.load(config, resources=resources, folder=files, source=source)
    task.check_data(config, data)
    if stored is None:
        return data
    if stored["corpus"] != data.fingerprint:
        refuse_difference(workdir, f"the corpus {data.name} has other content than before")
    written = task.resources.files(data.resources)
    if stored["resources"] != fingerprint(json.dumps(dict(written))):
        refuse_difference(workdir, f"{', '.join(written)} of {workdir} differs from before")
    return data


def train_run(
    task: Task,
    config: ConfigDict,
    workdir: Path,
    files: Path,
    data: Data,
    parallel: Parallel,
    say: Say,
    *,
    phases: Path | None = None,
    evaluated: bool = True,
) -> Trained:
    """Trains a run, or a phase of one, or goes on with it, or reads it if it is there.

    Args:
      task: of the run.
      config: all of it.
      workdir: the run directory.
      files: where this process writes what is not a checkpoint; `workdir` of the first process.
      data: the corpus.
      parallel: the devices.
      say: prints a line.
      phases: see `run`.
      evaluated: whether an evaluation follows, whose compiled functions must fit into memory too.
    """
    checkpoints, stored = open_run(task, config, workdir)
    try:
        written = task.resources.files(data.resources)
        meta = {
            "config": config.to_dict(),
            "corpus": data.fingerprint,
            "resources": fingerprint(json.dumps(dict(written))),
            "width": width_of(data),
        }
        for field in ("corpus", "resources"):
            if stored is not None and stored[field] != meta[field]:
                refuse_difference(workdir, f"its {field} differ from this run's")
        files.mkdir(parents=True, exist_ok=True)
        if not is_finished(files, task, config):  # of fewer epochs, or of another split
            (files / RESULTS).unlink(missing_ok=True)
        for name, text in written.items():
            write_atomically(files / name, text)
        save_config(files, task, config)
        write_atomically(files / "environment.json", json.dumps(environment(), indent=2) + "\n")
        taken: Params = {}
        records = []
        for phase in task.phases(config) if stored is None else ():
            groups, record = _phase(task, phase, workdir, files, data, parallel, say, phases)
            taken |= groups
            records.append(record)
        if records:
            write_atomically(files / RECORD, json.dumps(records, indent=2) + "\n")
        model = task.build(config, data.resources, None)
        options = config.training
        # The other run first: of it only the parameters are kept beside the whole fresh state.
        other = load_start(task, config, written) if options.start_from and not stored else None
        state = initial_state(task, config, model, data.resources, data)
        if other is not None:
            state = start_from(config, state, other, say)
            del other
        state = parallel.place_state(state)
        parts = f", {options.model_shards} parts" if options.model_shards > 1 else ""
        say(
            f"model {num_parameters(state.params):,} parameters{parts}, {parallel.num_devices} "
            f"{jax.local_devices()[0].platform} device(s); run directory {workdir}"
        )
        if stored is not None:
            state = parallel.place_state(checkpoint.restore(checkpoints, state))
            say(f"resumed at step {int(state.step)}, {int(state.epoch)} epochs finished")
        state = with_groups(state, taken)
        if stored is None and (taken or options.start_from):
            # From here on the phases, or the other run, may be deleted.
            checkpoint.save(checkpoints, state, meta, None)
        del taken
        functions = make_functions(model, parallel.compile_evaluation, parallel.shard)
        log = MetricsLog(files, int(state.epoch))
        fitted, predicted = None, None
        try:
            if evaluated or not finished(state, make_control(config)):
                fitted, needs = _fit(
                    task, config, functions, state.params, data, parallel, evaluated
                )
                job, memory, microbatches = make_job(
                    task, fitted.config, functions, data, parallel, state, meta
                )
                parts = f" in {microbatches} microbatches" if microbatches > 1 else ""
                needs = {f"a training step{parts}": memory, **needs}
                predicted = forecast(needs, parallel, say, saved=state)
                progress = Progress(
                    say,
                    options.log_seconds,
                    options.epochs,
                    row=task.nouns.row,
                    symbol=task.nouns.symbol,
                )
                profiler = Profiler(files / "profile", options.profile)
                try:
                    state = train(job, state, checkpoints, log, progress, profiler, say)
                finally:
                    profiler.close()
                    if profiler.summary:
                        say(profiler.summary)
                del job
            like = checkpoint.shapes(state)  # lets go of the arrays: the best take their place
            del state
            best = checkpoint.restore(checkpoints, like, best=True)
        finally:
            log.close()
    finally:
        checkpoints.close()
    params, epoch = best.params, int(best.best_epoch)
    del best
    if evaluated and model.prior.fit is not None:
        split = split_batches(config, data, "train", parallel)
        key = parallel.replicate(jax.random.key(0))
        params = fit_prior(functions, params, split, key=key)
        save_prior(files, params["prior"], epoch)
    trained = TrainedRun(files, task, config, data.resources, model, params, epoch, width_of(data))
    return Trained(trained, functions, fitted, log.history, predicted)


def _fit(
    task: Task,
    config: ConfigDict,
    functions: Functions,
    params: Any,
    data: Data,
    parallel: Parallel,
    evaluated: bool,
) -> tuple[FittedEvaluation, dict[str, Any]]:
    """Chooses batch sizes that fit into memory; those of importance samples only if evaluated."""
    if evaluated:
        fitted = fit_evaluation(task, config, functions, params, data, parallel)
        return fitted, fitted.needs
    smaller, needs = fit_batches(config, functions, params, data, parallel)
    return FittedEvaluation(smaller, 1, needs), needs


def _phase(
    task: Task,
    phase: Phase,
    workdir: Path,
    files: Path,
    data: Data,
    parallel: Parallel,
    say: Say,
    phases: Path | None,
) -> tuple[Params, dict[str, Any]]:
    """Trains a phase; returns the groups that are taken from it, and what it cost."""
    folder = (phases / phase_key(task, phase)) if phases else workdir / phase.name
    own = folder if files == workdir else files / phase.name

    def tell(line: str) -> None:
        say(f"{phase.name}  {line}")

    tell(f"{phase.about}, in {folder}")
    trained = train_run(task, phase.config, folder, own, data, parallel, tell, evaluated=False).run
    tell(f"over: {phase.done.format(epoch=trained.epoch)}")
    taken = {name: trained.params[name] for name in phase.groups}
    return taken, record_of(phase, trained, folder)


def evaluate_run(
    trained: TrainedRun,
    functions: Functions,
    data: Data,
    parallel: Parallel,
    console: Console,
    *,
    iw_chunk: int,
    history: list[dict[str, Any]],
    split: str,
) -> dict[str, Any]:
    """Evaluates the best epoch on a split, saves numbers, examples and pictures, and prints them.

    Args:
      trained: the run.
      functions: compiled, of its model.
      data: the corpus.
      parallel: the devices.
      console: where it shows.
      iw_chunk: importance samples decoded at once.
      history: records of all epochs.
      split: evaluated; one that is not the run's own is saved under names of its own.
    """
    task, options, start = trained.task, trained.config.evaluation, time.monotonic()
    params = parallel.place_state(trained.params)
    seed = trained.config.training.seed
    evidence = Evidence(
        functions,
        params,
        split_batches(trained.config, data, split, parallel),
        parallel.replicate(jax.random.key(seed)),
        make_evaluation_settings(trained.config, iw_chunk=iw_chunk),
        task.nouns,
    )
    results = evaluate(task.metrics, evidence)
    results |= {
        "task": task.name,
        "split": split,
        "corpus": data.name,
        "best_epoch": trained.epoch,
        "train_seconds": sum(record["seconds"] for record in history),
        "evaluation_seconds": time.monotonic() - start,
    }
    results |= cost(trained.workdir)
    trained = dataclasses.replace(trained, params=parallel.own(params))
    if jax.process_index() != 0:
        return results
    other = "" if split == options.split else f"-{split}"
    title = f"{data.name} {split}, {results['examples']:,} {task.nouns.row}s, epoch {trained.epoch}"
    # Printing comes last: it may fail, or its reader leave.
    save_results(trained.workdir, results, f"results{other}.json")  # lest a picture fail
    folder = trained.workdir / f"plots{other}"
    folder.mkdir(exist_ok=True)
    if history:
        training_curves(history, folder / "training.png")
    with console.capture() as shown:
        results["shown"] = task.show(trained, data, split, results, evidence.terms, console, folder)
    save_results(trained.workdir, results, f"results{other}.json")
    print_table(console, title, task.metrics, results, task.nouns)
    console.print(shown.get(), end="", markup=False, highlight=False, soft_wrap=True)
    return results


def evaluate_directory(
    trained: TrainedRun,
    console: Console,
    *,
    split: str,
    seed: int | None = None,
    overrides: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Evaluates a finished run again, on all devices.

    Args:
      trained: the run.
      console: where it shows.
      split: "train", "valid" or "test".
      seed: of all draws; None for the run's own.
      overrides: dotted fields of the configuration with other values.

    Raises:
      UserError: the corpus cannot be read, or an override is refused.
    """
    task, config = trained.task, trained.config.copy_and_resolve_references()
    config.update_from_flattened_dict(overrides or {})
    check(task.groups, config)
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    data = task.load(config, resources=trained.resources, folder=trained.workdir)
    parallel = MODES["jit"](choose_devices(None), 1, task.split_axes)
    functions = make_functions(trained.model, parallel.compile_evaluation, parallel.shard)
    params = parallel.replicate(trained.params)
    fitted = fit_evaluation(task, config, functions, params, data, parallel)
    predicted = forecast(fitted.needs, parallel, say)
    config = fitted.config
    if seed is not None:  # only now: it also splits a corpus of one file
        config.training.seed = seed
    results = evaluate_run(
        dataclasses.replace(trained, config=config),
        functions,
        data,
        parallel,
        console,
        iw_chunk=fitted.iw_chunk,
        history=read_metrics(trained.workdir),
        split=split,
    )
    say(measured(predicted))
    return results
