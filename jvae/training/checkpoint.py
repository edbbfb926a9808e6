"""Checkpoints: atomic, the last two and the best, behind five functions (orbax, v0 interface)."""

import errno
import json
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from jvae.errors import UserError
from jvae.training.state import TrainState

FOLDER = "checkpoints"
# What orbax adds, measured and doubled: descriptions of an array, and the ends of its files.
BYTES_OF_AN_ARRAY, BYTES_OF_FILES = 3_000, 2**17


def open_checkpoints(workdir: Path, *, read_only: bool = False) -> ocp.CheckpointManager:
    """Opens the checkpoints of a run directory, which it makes if there are none.

    Saves are synchronous: when `save` returns, the checkpoint is on disk under its final name; a
    process killed before leaves a temporary folder that nobody reads.

    Args:
      workdir: the run directory.
      read_only: nothing is made or cleaned up, so that a run may be read while it trains.

    Raises:
      UserError: the folder cannot be made or read.
    """
    options = ocp.CheckpointManagerOptions(
        best_fn=lambda metrics: metrics["score"],
        preservation_policy=preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(2),
                preservation_policy.BestN(n=1, get_metric_fn=lambda metrics: metrics["score"]),
            ]
        ),
        enable_async_checkpointing=False,
        create=not read_only,  # orbax has a read_only option, which warns on the terminal
    )
    folder = Path(workdir).absolute() / FOLDER
    try:
        if not read_only:
            folder.mkdir(parents=True, exist_ok=True)  # orbax takes a file for a folder
        if not read_only and jax.process_index() == 0:
            # A save killed midway leaves such a folder; it must not gather dust. (Orbax would sweep
            # in a thread, which prints a traceback if the process ends early.)
            for temporary in folder.glob("*.orbax-checkpoint-tmp"):
                shutil.rmtree(temporary)
        return ocp.CheckpointManager(folder, options=options)
    except Exception as error:
        raise UserError(
            f"cannot open the checkpoints in {folder}: {first_line(error)}; mend that folder, or "
            "choose another --workdir"
        ) from error


def save(
    manager: ocp.CheckpointManager, state: TrainState, meta: dict[str, Any], best: float | None
) -> None:
    """Saves `state` under its step.

    Args:
      manager: from `open_checkpoints`.
      state: the whole of it.
      meta: what `restore` compares with the run that resumes.
      best: the score of the epoch that just ended, if none before it was as good, or None: such a
        checkpoint is never the best.

    Raises:
      UserError: the disk is full or not writable. Earlier checkpoints are untouched.
    """
    step = int(state.step)
    if manager.latest_step() == step:
        return
    # Orbax refuses arrays without elements, which a model without a latent has: one zero for each.
    stored = _stored(state)
    filled = jax.tree.map(lambda leaf: leaf if leaf.size else jnp.zeros(1, leaf.dtype), stored)
    items = ocp.args.Composite(state=ocp.args.StandardSave(filled), meta=ocp.args.JsonSave(meta))
    metrics = {"score": -math.inf if best is None else best}
    try:
        _reserve(Path(manager.directory), _size_on_disk(filled, meta))
        manager.save(step, args=items, metrics=metrics, force=True)
    except Exception as error:  # tensorstore reports a full disk as ValueError
        kept = manager.latest_step()
        left = f"checkpoint {kept} is intact" if kept is not None else "no checkpoint exists yet"
        raise UserError(
            f"cannot save checkpoint {step} in {manager.directory}: {first_line(error)}; {left}: "
            "free some space or mend the folder, then run the same command to continue"
        ) from error


def _size_on_disk(arrays: Any, meta: dict[str, Any]) -> int:
    """Returns at least the bytes of a checkpoint: orbax writes of each array also what it is."""
    leaves = jax.tree.leaves(arrays)
    return (
        sum(leaf.nbytes for leaf in leaves)
        + len(json.dumps(meta))
        + BYTES_OF_AN_ARRAY * len(leaves)
        + BYTES_OF_FILES
    )


def _reserve(folder: Path, num_bytes: int) -> None:
    """Fails if the disk has no room, before orbax does, which prints pages from its threads."""
    if not hasattr(os, "posix_fallocate"):  # macOS, Windows
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            # Some file systems cannot tell.


def load_meta(manager: ocp.CheckpointManager) -> dict[str, Any] | None:
    """Reads the `meta` of the latest checkpoint, or returns None if there is none."""
    step = manager.latest_step()
    if step is None:
        return None
    return _restore(manager, step, meta=ocp.args.JsonRestore()).meta


def restore(manager: ocp.CheckpointManager, like: TrainState, *, best: bool = False) -> TrainState:
    """Reads the latest state, or the best.

    Args:
      manager: from `open_checkpoints`; it must hold a checkpoint.
      like: a state of the same shapes and placement.
      best: the one with the highest score, not the latest.

    Raises:
      UserError: the checkpoint cannot be read, or is one of a model of another size.
    """
    step = manager.best_step() if best else manager.latest_step()
    expected = _stored(shapes(like))
    target = jax.tree.map(lambda leaf: leaf if leaf.size else leaf.update(shape=(1,)), expected)
    _check_shapes(Path(manager.directory) / str(step), target)
    state = _restore(manager, step, state=ocp.args.StandardRestore(target)).state
    restored = jax.tree.map(
        lambda leaf, saved: saved if leaf.size else jnp.zeros(leaf.shape, leaf.dtype),
        expected,
        state,
    )
    return like._replace(**restored)


def _stored(state: TrainState) -> dict[str, Any]:
    """Names the fields that hold arrays."""
    return {name: field for name, field in state._asdict().items() if jax.tree.leaves(field)}


def shapes(tree: Any) -> Any:
    """Returns the arrays' shapes and placement, all that `restore` asks of `like`."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree
    )


def _check_shapes(folder: Path, target: Any) -> None:
    """Checks first: orbax abandons the reads beside a failed one, which print pages."""
    try:
        saved = ocp.StandardCheckpointHandler().metadata(folder / "state").tree
    except Exception as error:
        raise _damaged(folder, error) from error
    there = {array.name: array.shape for array in jax.tree.leaves(saved)}
    for name, array in ocp.tree.to_flat_dict(target, sep=".").items():
        if name in there and there[name] != array.shape:
            raise UserError(
                f"checkpoint {folder} is of another model: {name} has the shape {there[name]} "
                f"there, {array.shape} here; choose another --workdir, or the config it was "
                "trained with"
            )


def _restore(manager: ocp.CheckpointManager, step: int, **items: Any) -> Any:
    try:
        return manager.restore(step, args=ocp.args.Composite(**items))
    except Exception as error:
        raise _damaged(Path(manager.directory) / str(step), error) from error


def _damaged(folder: Path, error: Exception) -> UserError:
    return UserError(
        f"checkpoint {folder} is damaged: {first_line(error)}; delete that folder to continue "
        "from the checkpoint before it"
    )


def first_line(error: Exception) -> str:
    """Returns the first 200 characters of an error's text, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
