"""A run directory: what it holds, and how it is read."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from jvae.components import check, default_config, free_fields
from jvae.configs import difference, merged
from jvae.errors import UserError
from jvae.files import write_atomically
from jvae.model import VAE
from jvae.objectives import init
from jvae.runs.process import require_devices
from jvae.training import checkpoint
from jvae.training.settings import make_optimisers
from jvae.training.state import TrainState, create_state
from jvae.types import Array, Params

if TYPE_CHECKING:
    from jvae.runs.task import Data, Task

CONFIG, RESULTS, PRIOR = "config.json", "results.json", "prior.json"
FILES = ("dir", "train", "valid", "test")  # fields of `data` that name files
TASK = "task"  # key of the task's name in the configuration's file


@dataclass(frozen=True)
class TrainedRun:
    """A run directory, ready for use.

    Attributes:
      workdir: its path.
      task: what kind of work it is.
      config: as it was trained.
      resources: what the model is built from beside its configuration.
      model: pure functions.
      params: the model's, of the best epoch; a prior that is fitted after it as fitted.
      epoch: which that was.
      width: of the widest training example, in padded symbols;
        0 where an earlier jvae did not write it.
    """

    workdir: Path
    task: "Task"
    config: ConfigDict
    resources: Any
    model: VAE
    params: Params
    epoch: int
    width: int = 0


def initial_state(
    task: "Task", config: ConfigDict, model: VAE, resources: Any, data: "Data | None" = None
) -> TrainState:
    """Makes the state before the first step, from the run's seed.

    Args:
      task: of the run.
      config: all of it.
      model: that it describes.
      resources: of the task.
      data: the corpus, for what it says before training (`Task.start`); None for shapes only.
    """
    objective = task.objective(config, model, resources, None)
    optimisers = make_optimisers(config, objective)

    def create(seed: Array) -> TrainState:
        key = jax.random.key(seed)
        params = init(model, task.example(config, resources), key=key)
        groups = objective.init(key, params)
        return create_state(params, groups, optimisers, aggressive=config.training.aggressive)

    state: TrainState = jax.jit(create)(config.training.seed)  # one function, not one an array
    if data is None:
        return state
    return state._replace(params=task.start(config, model, state.params, data))


def make_workdir(workdir: Path) -> None:
    """Makes the run directory and sees that it can be written.

    Raises:
      UserError: it cannot.
    """
    probe = workdir / ".writable"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink(missing_ok=True)  # a job that starts now may have done so
    except OSError as error:
        raise UserError(
            f"cannot write to the run directory {workdir}: {error.strerror}; "
            "choose another with --workdir=DIR"
        ) from error


def refuse_difference(workdir: Path, what: str | None) -> None:
    """Stops a resume that would mix two runs."""
    if what is not None:
        raise UserError(
            f"{workdir} holds another run: {what}; choose another --workdir, or go back to the "
            "old value to continue"
        )


def open_run(
    task: "Task", config: ConfigDict, workdir: Path
) -> tuple[ocp.CheckpointManager, dict[str, Any] | None]:
    """Opens the checkpoints of a run directory; returns the latest one's `meta` too, if any.

    Raises:
      UserError: it cannot be written, or holds a run of another configuration.
    """
    if jax.process_index() == 0:
        make_workdir(workdir)
    checkpoints = checkpoint.open_checkpoints(workdir)
    stored = checkpoint.load_meta(checkpoints)
    if stored is not None:
        old = _complete(task, stored["config"], workdir)
        refuse_difference(workdir, difference(old, config.to_dict(), free_fields(task.groups)))
    return checkpoints, stored


def fingerprint(text: str) -> str:
    """Returns the first 16 hexadecimal digits of the sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def with_absolute_paths(config: ConfigDict) -> ConfigDict:
    """Returns a copy that names files from the root: a run is also used from other folders."""
    copy = config.copy_and_resolve_references()
    for name in FILES:
        if copy.data.get(name):
            copy.data[name] = str(Path(copy.data[name]).absolute())
    return copy


def save_config(workdir: Path, task: "Task", config: ConfigDict) -> None:
    """Writes the resolved configuration and the task's name."""
    content = {TASK: task.name, **config.to_dict()}
    write_atomically(workdir / CONFIG, json.dumps(content, indent=2) + "\n")


def save_results(workdir: Path, results: Mapping[str, Any], name: str = RESULTS) -> None:
    """Writes the numbers and what is shown beside them as JSON."""
    text = json.dumps(_plain(dict(results)), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(workdir / name, text + "\n")


def _plain(value: Any) -> Any:
    """Turns NaN, an error bar that one example does not have, into null: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """Reads a JSON file of a run directory.

    Raises:
      UserError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: is {path.parent} a run directory?") from None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} is damaged: {error}; restore it or train again") from error


def task_name(workdir: Path) -> str:
    """Reads which task a run directory is of.

    Raises:
      UserError: it is no run directory, or one of an earlier jvae.
    """
    if not workdir.is_dir():
        raise UserError(f"{workdir} is not a run directory: train first, with --workdir={workdir}")
    stored = read_json(workdir / CONFIG)
    if not isinstance(stored, dict) or not isinstance(stored.get(TASK), str):
        raise UserError(
            f"{workdir / CONFIG} names no task: the run is of an earlier jvae, or the file is "
            "damaged; restore it, or train again in another --workdir"
        )
    return stored[TASK]


def is_finished(workdir: Path, task: "Task", config: ConfigDict) -> bool:
    """Tells whether a run directory holds the results of just this configuration."""
    try:
        stored = json.loads((workdir / CONFIG).read_text(encoding="utf-8"))
        if stored.pop(TASK) != task.name:
            return False
        old = merged(default_config(task.groups).to_dict(), stored)
        asked = json.loads(json.dumps(config.to_dict()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    place = free_fields(task.groups, place=True)
    return (workdir / RESULTS).exists() and difference(old, asked, place) is None


def read_config(path: Path, task: "Task") -> ConfigDict:
    """Reads the configuration in a run directory's file; fields that came later have defaults.

    Raises:
      UserError: it is missing, damaged, or of another task.
    """
    stored = read_json(path)
    name = stored.pop(TASK, None) if isinstance(stored, dict) else None
    if name is not None and name != task.name:
        raise UserError(f"{path} is of the task {name!r}, not of {task.name!r}")
    config = default_config(task.groups)
    try:
        config.update(_complete(task, stored, path))
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged: {checkpoint.first_line(error)}; restore it, or train again in "
            "another --workdir"
        ) from error
    return config


def _complete(task: "Task", stored: Any, path: Path) -> dict[str, Any]:
    """Adds the defaults of fields that came later to a stored configuration."""
    try:
        return merged(default_config(task.groups).to_dict(), stored)
    except KeyError as error:
        raise UserError(
            f"{path} has the field {error.args[0]}, which this jvae does not know: the run is of "
            "another version; train again in another --workdir"
        ) from None
    except (TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged: {checkpoint.first_line(error)}; restore it, or train again in "
            "another --workdir"
        ) from error


def load_config(workdir: Path, task: "Task") -> ConfigDict:
    """Reads the configuration of a run directory.

    Raises:
      UserError: it is missing, damaged, or refused.
    """
    path = workdir / CONFIG
    config = read_config(path, task)
    try:
        check(task.groups, config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return config


def load_run(workdir: Path, task: "Task") -> TrainedRun:
    """Reads a run directory.

    Raises:
      UserError: something is missing or damaged; says which file.
    """
    if not workdir.is_dir():
        raise UserError(f"{workdir} is not a run directory: train first, with --workdir={workdir}")
    require_devices()
    config = load_config(workdir, task)
    resources = task.resources.read(workdir)
    model = task.build(config, resources, None)
    if not (workdir / checkpoint.FOLDER).is_dir():
        raise UserError(f"{workdir} holds no checkpoint yet: let the training finish an epoch")
    manager = checkpoint.open_checkpoints(workdir, read_only=True)
    if manager.latest_step() is None:
        raise UserError(f"{workdir} holds no checkpoint yet: let the training finish an epoch")
    like = jax.eval_shape(lambda: initial_state(task, config, model, resources))
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), like
    )
    state = checkpoint.restore(manager, like, best=True)
    if int(state.best_epoch) == 0:  # stopped in its first epoch
        raise UserError(f"{workdir} has not finished an epoch: the same command continues it")
    params, epoch = state.params, int(state.best_epoch)
    params = with_stored_prior(workdir, params, epoch)
    width = (checkpoint.load_meta(manager) or {}).get("width", 0)
    return TrainedRun(workdir, task, config, resources, model, params, epoch, width)


def save_prior(workdir: Path, prior: Params, epoch: int) -> None:
    """Writes a prior that was fitted after training, beside the checkpoints of its epoch.

    A checkpoint is never written twice.
    """
    leaves = [leaf.tolist() for leaf in jax.tree.leaves(jax.device_get(prior))]
    write_atomically(workdir / PRIOR, json.dumps({"epoch": epoch, "leaves": leaves}) + "\n")


def with_stored_prior(workdir: Path, params: Params, epoch: int) -> Params:
    """Replaces the prior by the one that was fitted after this epoch, if there is one."""
    if not (workdir / PRIOR).exists():
        return params
    stored = read_json(workdir / PRIOR)
    if stored["epoch"] != epoch:  # the run has gone on, and not yet ended
        return params
    leaves, structure = jax.tree.flatten(params["prior"])
    new = [np.asarray(v, leaf.dtype) for v, leaf in zip(stored["leaves"], leaves, strict=True)]
    return params | {"prior": jax.tree.unflatten(structure, new)}
