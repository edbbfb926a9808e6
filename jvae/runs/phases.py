"""Parameters that a run takes from another: an earlier phase of its own, or a finished run.

Both are ordinary runs in directories of their own, which log, save and resume as any other.
Optimisers, schedules and the step's number start afresh.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jvae.components import free_fields
from jvae.configs import flat
from jvae.errors import UserError
from jvae.runs.directory import TrainedRun, fingerprint, load_run, read_json
from jvae.runs.task import Phase, Task
from jvae.training.logs import read_metrics
from jvae.training.state import TrainState
from jvae.types import Params

RECORD = "phases.json"  # of a run directory: what its phases cost


def phase_key(task: Task, phase: Phase) -> str:
    """Returns a name that runs with the same phase share, whatever follows it."""
    free = free_fields(task.groups) - {"training.epochs"}
    kept = {name: value for name, value in flat(phase.config.to_dict()) if name not in free}
    return fingerprint(json.dumps(kept, sort_keys=True))


def record_of(phase: Phase, trained: TrainedRun, folder: Path) -> dict[str, Any]:
    """Returns where a phase lies, its best epoch, and the seconds of its training."""
    seconds = sum(line["seconds"] for line in read_metrics(trained.workdir))
    return {
        "name": phase.name,
        "folder": str(folder),
        "best_epoch": trained.epoch,
        "seconds": seconds,
    }


def cost(workdir: Path) -> dict[str, float]:
    """Returns the seconds of a run's phases, for its results: "pretrain_seconds"."""
    path = workdir / RECORD
    if not path.exists():
        return {}
    return {"pretrain_seconds": sum(record["seconds"] for record in read_json(path))}


def load_start(task: Task, config: ConfigDict, files: Mapping[str, str]) -> TrainedRun:
    """Reads the run that `config.training.start_from` names.

    Args:
      task: of the run that starts from it.
      config: of that run.
      files: of its resources (`Resources.files`).

    Raises:
      UserError: there is no such run, or its resources or network are others.
    """
    folder = config.training.start_from
    try:
        other = load_run(Path(folder), task)
    except UserError as error:
        raise UserError(f"training.start_from = {folder!r}: {error}") from None
    if task.resources.files(other.resources) != files:
        raise UserError(
            f"training.start_from = {folder!r}: its {', '.join(files)} is not that of this run; "
            "a run takes that of the run it starts from"
        )
    theirs, ours = dict(flat(other.config)), dict(flat(config))
    for name in task.same:
        if theirs[name] != ours[name]:
            raise UserError(
                f"training.start_from = {folder!r}: its {name} is {theirs[name]!r}, and this "
                f"run's {ours[name]!r}; take its own"
            )
    return other


def start_from(
    config: ConfigDict, state: TrainState, other: TrainedRun, say: Callable[[str], None]
) -> TrainState:
    """Puts the parameters of another run's best epoch into a fresh state.

    The prior, and what an objective learns, start afresh where the other run's have other shapes;
    so does a prior that is fitted to the run's own data.

    Args:
      config: of this run.
      state: before the first step.
      other: from `load_start`.
      say: prints a line.

    Raises:
      UserError: an array of encoder or decoder has another shape.
    """
    taken: dict[str, Params] = {}
    afresh = []
    for group, ours in state.params.items():
        theirs = other.params.get(group, {})
        differing = _difference(theirs, ours)
        if group in ("encoder", "decoder") and differing is not None:
            raise UserError(
                f"training.start_from = {config.training.start_from!r}: its {group} has "
                f"{differing}; take the other run's model.* fields"
            )
        fitted = group == "prior" and other.model.prior.fit is not None
        keep = differing is not None or fitted
        taken[group] = ours if keep else theirs
        if keep and jax.tree.leaves(ours):
            afresh.append(group)
    added = f"; {' and '.join(afresh)} afresh" if afresh else ""
    say(f"start  from the parameters of {other.workdir}, epoch {other.epoch}{added}")
    return state._replace(params=taken)


def with_groups(state: TrainState, groups: Params) -> TrainState:
    """Replaces groups of the parameters; optimisers start from zeros all the same."""
    return state._replace(params=state.params | groups)


def _difference(theirs: Params, ours: Params) -> str | None:
    """Returns the first array in which two trees of parameters differ, in words, or None."""

    def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
        name = partial(jax.tree_util.keystr, simple=True, separator="/")
        return {name(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}

    old, new = shapes(theirs), shapes(ours)
    for name in [*new, *old]:
        if old.get(name) != new.get(name):
            there = f"{name} of {old[name]}" if name in old else f"no {name}"
            return f"{there}, and this run's {new.get(name, 'none')}"
    return None
