"""How a step is compiled and spread over devices: the one place that calls `jit` and `pmap`."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jvae.errors import UserError
from jvae.training.steps import Sharding, Step
from jvae.types import Array

AXIS = "data"


class Parallel(NamedTuple):
    """A way to run on several devices.

    Attributes:
      num_devices: batches are filled up to a multiple of it.
      sharding: hooks for `jvae.training.steps.make_step`.
      compile: step -> compiled step; its state is donated.
      replicate: puts arrays on every device.
      shard: puts `[B, ..]` arrays on the devices, rows spread.
    """

    num_devices: int
    sharding: Sharding
    compile: Callable[[Step], Step]
    replicate: Callable[[Any], Any]
    shard: Callable[[Any], Any]


def choose_devices(num_devices: int | None) -> list[jax.Device]:
    """The first `num_devices` local devices, or all.

    Raises:
      UserError: there are fewer.
    """
    devices = jax.local_devices()
    wanted = num_devices or len(devices)
    if wanted > len(devices):
        raise UserError(
            f"training.num_devices asks for {wanted} devices but this machine has {len(devices)} "
            f"({devices[0].platform}): lower it, or leave it at 0 for all"
        )
    return devices[:wanted]


def _mesh_jit(devices: list[jax.Device]) -> Parallel:
    # Auto axes: JAX places the sharded gather and the reductions by itself, so that the step's
    # code is the one-device code.
    mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
    replicated = NamedSharding(mesh, PartitionSpec())
    by_row = NamedSharding(mesh, PartitionSpec(AXIS))
    return Parallel(
        num_devices=len(devices),
        sharding=Sharding(rows=partial(jax.lax.with_sharding_constraint, shardings=by_row)),
        compile=partial(jax.jit, donate_argnums=0, out_shardings=replicated),
        replicate=partial(jax.device_put, device=replicated),
        shard=partial(jax.device_put, device=by_row),
    )


def _pmap(devices: list[jax.Device]) -> Parallel:
    def local_rows(rows: Array) -> Array:
        size = rows.shape[0] // len(devices)
        return jax.lax.dynamic_slice_in_dim(rows, jax.lax.axis_index(AXIS) * size, size)

    def compile(step: Step) -> Step:
        # pmap wants one mapped argument; everything else is the same on every device, and what
        # comes out is too, since all sums are over all devices.
        mapped = jax.pmap(
            lambda device, *arguments: step(*arguments),
            AXIS,
            in_axes=(0, None, None, None, None, None),
            out_axes=None,
            devices=devices,
        )
        numbers = jnp.arange(len(devices))
        return lambda *arguments: mapped(numbers, *arguments)

    base = _mesh_jit(devices)
    return base._replace(
        sharding=Sharding(rows=local_rows, reduce=partial(jax.lax.psum, axis_name=AXIS)),
        compile=compile,
    )


MODES = {"jit": _mesh_jit, "pmap": _pmap}
