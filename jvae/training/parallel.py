"""Compiles a step and spreads it over devices: the one place that calls `jit` and `pmap`.

With several processes (hosts), each of them runs the same compiled function over the same numbers,
and JAX moves what must move between them. An array that all of them hold whole is made from the
copy of each process.

The mesh has two axes. A batch's rows are spread over "data". Over "model" are spread the largest
arrays, which a task knows by their names, and with them their optimiser states.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jvae.errors import UserError
from jvae.training.state import TrainState
from jvae.training.steps import Sharding, Step
from jvae.types import Array

ROWS, PARTS = "data", "model"

Axes = Mapping[str, int]  # names of arrays that are spread over "model" -> the axis that is cut


class Parallel(NamedTuple):
    """A mode of running on several devices.

    Attributes:
      num_devices: all of them.
      row_shards: batches are filled up to a multiple of it.
      sharding: hooks for `jvae.training.steps.make_step`.
      compile: step -> compiled step; its state is donated.
      compile_evaluation: function -> compiled function, whose result every process can read.
      replicate: puts arrays on every device.
      place_state: puts a state, or parameters, on the devices, the largest arrays spread.
      shard: puts `[B, ..]` arrays on the devices, rows spread.
      own: what `place_state` gave, whole, on the first of this process's devices; all processes
        must call it.
    """

    num_devices: int
    row_shards: int
    sharding: Sharding
    compile: Callable[[Step], Step]
    compile_evaluation: Callable[[Callable[..., Any]], Callable[..., Any]]
    replicate: Callable[[Any], Any]
    place_state: Callable[[Any], Any]
    shard: Callable[[Any], Any]
    own: Callable[[Any], Any]


def join_processes(coordinator: str, num_processes: int, process_id: int) -> None:
    """Makes this process one of several; before anything else is asked of JAX.

    Args:
      coordinator: "" for a process on its own; "auto" where the cluster tells each process its
        place (Cloud TPU, Slurm, Kubernetes, Open MPI); else `host:port` of process 0.
      num_processes: how many there are, where the cluster does not say it.
      process_id: which this one is, from 0.

    Raises:
      UserError: the others cannot be reached.
    """
    if not coordinator or jax.distributed.is_initialized():
        return
    address: dict[str, Any] = {}
    if coordinator != "auto":
        if not re.fullmatch(r".+:\d+", coordinator):
            raise UserError(
                f"training.coordinator = {coordinator!r} is neither 'auto' nor a host:port"
            )
        address = {
            "coordinator_address": coordinator,
            "num_processes": num_processes,
            "process_id": process_id,
        }
    try:
        jax.distributed.initialize(**address)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"process {process_id} of {num_processes} cannot join training.coordinator = "
            f"{coordinator!r}: {' '.join(str(error).split())[:200]}"
        ) from error


def choose_devices(num_devices: int | None) -> list[jax.Device]:
    """Returns the first `num_devices` devices, or all, of all processes.

    Raises:
      UserError: there are fewer, or only some of several processes' devices are asked for.
    """
    devices = jax.devices()
    wanted = num_devices or len(devices)
    if wanted > len(devices):
        raise UserError(
            f"training.num_devices asks for {wanted} devices but this machine has {len(devices)} "
            f"({devices[0].platform}): lower it, or leave it at 0 for all"
        )
    if jax.process_count() > 1 and wanted < len(devices):
        raise UserError(
            f"training.num_devices = {wanted} leaves out some of the {len(devices)} devices of "
            f"{jax.process_count()} processes: leave it at 0 for all"
        )
    return devices[:wanted]


def put(leaf: Any, sharding: NamedSharding) -> Array:
    """Puts an array on devices, also on those of other processes, which hold the same array."""
    if jax.process_count() == 1:
        return jax.device_put(leaf, sharding)
    if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(sharding, leaf.ndim):
        return leaf  # of a spread one this process could not read the whole
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(put(jax.random.key_data(leaf), sharding))
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


def place(tree: Any, sharding: NamedSharding) -> Any:
    """Applies `put` to every array."""
    return jax.tree.map(partial(put, sharding=sharding), tree)


def state_shardings(state: Any, mesh: Mesh, axes: Axes) -> Any:
    """Decides where each array of a state, or of parameters, belongs.

    Raises:
      UserError: such an array does not divide into the mesh's parts.
    """
    parts = mesh.shape[PARTS]

    def of_leaf(path: tuple, leaf: Any) -> NamedSharding:
        # Optimiser states mirror the parameters, names included.
        axis = axes.get(getattr(path[-1], "key", ""))
        if axis is None:
            return NamedSharding(mesh, PartitionSpec())
        size = leaf.shape[axis]
        if size % parts:
            raise UserError(
                f"training.model_shards = {parts} does not divide the {size} entries of "
                f"{path[-1].key}: choose a divisor, or {size - size % parts} entries"
            )
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, PARTS))

    return jax.tree_util.tree_map_with_path(of_leaf, state)


def _mesh_jit(
    devices: list[jax.Device], model_shards: int = 1, axes: Axes = MappingProxyType({})
) -> Parallel:
    if len(devices) % model_shards:
        raise UserError(
            f"training.model_shards = {model_shards} does not divide the {len(devices)} devices: "
            "choose a divisor of it"
        )
    row_shards = len(devices) // model_shards
    # Auto axes: JAX places the sharded gather and the reductions by itself, so that the step's
    # code is the one-device code. "model" comes last: its parts are neighbours, on one host if
    # they fit there.
    mesh = jax.make_mesh(
        (row_shards, model_shards), (ROWS, PARTS), axis_types=(AxisType.Auto,) * 2, devices=devices
    )
    replicated = NamedSharding(mesh, PartitionSpec())
    by_row = NamedSharding(mesh, PartitionSpec(ROWS))
    whole = jax.jit(lambda tree: tree, out_shardings=replicated)

    def compile(step: Step) -> Step:
        def placed(*arguments: Any) -> TrainState:
            state = step(*arguments)
            return jax.lax.with_sharding_constraint(state, state_shardings(state, mesh, axes))

        return jax.jit(placed, donate_argnums=0)

    return Parallel(
        num_devices=len(devices),
        row_shards=row_shards,
        sharding=Sharding(rows=partial(jax.lax.with_sharding_constraint, shardings=by_row)),
        compile=compile,
        compile_evaluation=partial(jax.jit, out_shardings=replicated),
        replicate=partial(place, sharding=replicated),
        place_state=lambda state: jax.tree.map(put, state, state_shardings(state, mesh, axes)),
        shard=partial(place, sharding=by_row),
        own=lambda tree: jax.tree.map(lambda leaf: leaf.addressable_data(0), whole(tree)),
    )


def _pmap(
    devices: list[jax.Device], model_shards: int = 1, axes: Axes = MappingProxyType({})
) -> Parallel:
    assert model_shards == 1

    def local_rows(rows: Array) -> Array:
        size = rows.shape[0] // len(devices)
        return jax.lax.dynamic_slice_in_dim(rows, jax.lax.axis_index(ROWS) * size, size)

    def compile(step: Step) -> Step:
        # pmap wants one mapped argument; everything else is the same on every device, and what
        # comes out is too, since all sums are over all devices.
        mapped = jax.pmap(
            lambda device, *arguments: step(*arguments),
            ROWS,
            in_axes=(0, *[None] * 6),
            out_axes=None,
            devices=devices,
        )
        numbers = jnp.arange(len(devices))
        return lambda *arguments: mapped(numbers, *arguments)

    base = _mesh_jit(devices, model_shards, axes)
    return base._replace(
        sharding=Sharding(rows=local_rows, reduce=partial(jax.lax.psum, axis_name=ROWS)),
        compile=compile,
    )


MODES = {"jit": _mesh_jit, "pmap": _pmap}
