"""Trains several methods on one corpus, evaluates each alike and writes one report.

Each method and seed is a run of its own below the run directory. The same call resumes it or, once
it is finished, reads it; methods with the same earlier phases share them.
"""

from collections.abc import Callable, Collection, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from rich.console import Console

from jvae.compare import report
from jvae.compare.columns import line
from jvae.compare.methods import choose, configure, method, replaced
from jvae.compare.outcomes import Outcome
from jvae.components import check
from jvae.errors import UserError
from jvae.runs.directory import RESULTS, is_finished, make_workdir, read_json
from jvae.runs.run import run as train
from jvae.runs.task import Data, Task
from jvae.training.logs import read_metrics

PHASES = "phases"  # directory of earlier phases below a comparison's

Measure = Callable[[Outcome, Callable[[], Data]], dict[str, Any]]


def compare(
    task: Task,
    base: ConfigDict,
    names: Sequence[str],
    seeds: Sequence[int],
    workdir: Path,
    console: Console,
    given: Collection[str] = (),
    *,
    form: report.Form | None = None,
    measure: Measure | None = None,
    run: Callable[..., object] = train,
) -> list[Outcome]:
    """Trains and evaluates every method with every seed, and writes the report.

    Args:
      task: the kind of work.
      base: data, sizes and training budget of all.
      names: of methods, or of several joined by "+"; floors and ceilings are added.
      seeds: one run of each method for each.
      workdir: of all runs.
      console: where it prints.
      given: fields whose value in the base is every method's that does not set them itself.
      form: of the report, with its methods; by default the task's.
      measure: `(outcome, data) -> further entries of its results`, where `data()` loads the corpus.
      run: see `jvae.runs.run.run`.

    Returns:
      One dictionary a run: "method", "seed", "folder", and "results" and "history" or "error".

    Raises:
      UserError: a method is unknown, the base configuration or the data is at fault.
      jvae.training.loop.Interrupted: on a signal, after a checkpoint; the same call goes on.
    """
    if form is None:
        form = _form_of(task)
    methods = form.methods
    names = choose(methods, names)
    _check(task, form, base, names, seeds, given)
    make_workdir(workdir)
    left_out = ", ".join(replaced(methods, base, given))
    if left_out:
        start = "left out of the base, as every method starts from a plain VAE:"
        console.print(f"{start} {left_out}", highlight=False, soft_wrap=True)
    data = shared_data(task, configure(methods, base, names[0], seeds[0], given))
    outcomes = []
    for seed in seeds:
        for name in names:
            about = method(methods, name).about
            config = configure(methods, base, name, seed, given)
            outcome = train_or_read(task, config, name, about, workdir, console, data, run)
            if measure is not None and "error" not in outcome:
                added = attempt(
                    partial(measure, outcome, data), f"measuring its {task.nouns.row}s: "
                )
                outcome |= added if "error" in added else {"results": outcome["results"] | added}
            outcomes.append(outcome)
            shown = line(outcome, form.columns)
            console.print(shown, markup=False, highlight=False, soft_wrap=True)
    if all("error" in outcome for outcome in outcomes):
        raise UserError(f"every method failed; the first: {outcomes[0]['error']}")
    report.write(form, outcomes, workdir, console)
    return outcomes


def _form_of(task: Task) -> report.Form:
    if task.methods is None:
        raise UserError(f"the task {task.name} has no methods to compare")
    return report.form_of(task, task.methods)


def _check(
    task: Task,
    form: report.Form,
    base: ConfigDict,
    names: Sequence[str],
    seeds: Sequence[int],
    given: Collection[str],
) -> None:
    """Refuses before hours of training what a method cannot do."""
    if base.training.coordinator:  # another process would not find yet what the first has written
        raise UserError(
            f"training.coordinator = {base.training.coordinator!r}: a comparison is made by one "
            "process; leave it out, or train each method as a run of its own"
        )
    for seed in seeds:
        for name in names:
            try:
                check(task.groups, configure(form.methods, base, name, seed, given))
            except UserError as error:
                raise UserError(f"method {name}: {error}") from None


def shared_data(task: Task, config: ConfigDict) -> Callable[[], Data]:
    """Returns a function that loads the corpus when it is first called: finished runs need none."""

    @cache
    def load() -> Data:
        return task.load(config)

    return load


def train_or_read(
    task: Task,
    config: ConfigDict,
    name: str,
    about: str,
    workdir: Path,
    console: Console,
    data: Callable[[], Data],
    run: Callable[..., object] = train,
) -> Outcome:
    """Trains a method in `workdir/NAME/seed-N`, or reads it there once it is finished.

    Args:
      task: the kind of work.
      config: of the run.
      name: of the method.
      about: a few words, for the console.
      workdir: of all runs.
      console: where it prints; the run itself prints into its "output.txt".
      data: loads the corpus.
      run: see `jvae.runs.run.run`.

    Returns:
      See `compare`; a run that fails does not end the others.
    """
    seed = config.training.seed
    folder = workdir / name / f"seed-{seed}"
    outcome: Outcome = {"method": name, "seed": seed, "folder": str(folder)}

    def finished() -> dict[str, Any]:
        if not is_finished(folder, task, config):
            folder.mkdir(parents=True, exist_ok=True)
            console.print(f"{name}, seed {seed}: {about}", highlight=False, soft_wrap=True)
            shared = data()
            with open(folder / "output.txt", "a", encoding="utf-8") as shown:
                run(
                    task,
                    config,
                    folder,
                    Console(file=shown, width=120),
                    source=shared.source,
                    resources=shared.resources,
                    phases=workdir / PHASES,
                )
        return {"results": read_json(folder / RESULTS), "history": read_metrics(folder)}

    return outcome | attempt(finished)


def attempt(action: Callable[[], dict[str, Any]], doing: str = "") -> dict[str, Any]:
    """Returns what `action` returns, or the "error" of a method that fails and ends no other.

    Args:
      action: training or measuring; it may run out of memory.
      doing: the beginning of the error.
    """
    try:
        return action()
    except (UserError, MemoryError, jax.errors.JaxRuntimeError) as error:
        return {"error": doing + (" ".join(str(error).split())[:300] or type(error).__name__)}
