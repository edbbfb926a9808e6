"""Memory of a whole job, predicted before it starts and measured at its end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jvae.batch import Batch, resized
from jvae.data.batching import full_rows
from jvae.evaluation.corpus import samples_per_chunk
from jvae.evaluation.evidence import offers
from jvae.evaluation.functions import Functions
from jvae.evaluation.samples import block_size
from jvae.runs.task import Data, Task
from jvae.training.memory import Memory, fit, megabytes
from jvae.training.parallel import Parallel
from jvae.types import Params


class InUse(NamedTuple):
    """Bytes in use by the process (CPU), or on its first device.

    Attributes:
      now: at this moment.
      peak: at most so far.
    """

    now: int
    peak: int


class FittedEvaluation(NamedTuple):
    """Attributes:
    config: the run's, with the `evaluation.batch_size` that keeps to the budget.
    iw_chunk: importance samples decoded at once.
    needs: name of a compiled function -> its memory per device, for the widest examples.
    """

    config: ConfigDict
    iw_chunk: int
    needs: dict[str, Memory | None]


def fit_batches(
    config: ConfigDict, functions: Functions, params: Params, data: Data, parallel: Parallel
) -> tuple[ConfigDict, dict[str, Memory | None]]:
    """Chooses the batch size of validation and evaluation, and compiles for their memory.

    Returns:
      The configuration with that `evaluation.batch_size`, and the functions' memory per device.

    Raises:
      UserError: not even one example on each device keeps to `training.memory_gb`.
    """
    key = parallel.replicate(jax.random.key(0))
    encode: Any = functions.encode
    decode: Any = functions.decode

    def encoding(rows: int) -> Any:
        batch = _blank(functions, data, rows * parallel.row_shards)
        return encode.lower(params, batch, key=key).compile()

    def decoding(rows: int) -> Any:
        batch = _blank(functions, data, rows * parallel.row_shards)
        shapes = jax.eval_shape(encode, params, batch, key=key).z
        z = functions.place(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
        return decode.lower(params, z, batch, key=key).compile()

    rows = full_rows(config.evaluation.batch_size, parallel.row_shards) // parallel.row_shards
    needs: dict[str, Memory | None] = dict.fromkeys(("encoding", "decoding"))
    # The needier one first: the other is then compiled for the rows that are left.
    for name, build in (("decoding", decoding), ("encoding", encoding)):
        _, rows, needs[name] = fit(
            build,
            _halvings(rows),
            _budget(config),
            what=f"{name} even {{}} example at once",
            cure="model.hidden_size or the width of the data",
        )
    fitted = config.copy_and_resolve_references()
    fitted.evaluation.batch_size = rows * parallel.row_shards
    return fitted, needs


def fit_evaluation(
    task: Task,
    config: ConfigDict,
    functions: Functions,
    params: Params,
    data: Data,
    parallel: Parallel,
) -> FittedEvaluation:
    """Chooses the batch size (`fit_batches`), and likewise the chunk of importance samples.

    Raises:
      UserError: not even one example, or sample, keeps to `training.memory_gb`.
    """
    config, needs = fit_batches(config, functions, params, data, parallel)
    options, model = config.evaluation, functions.model
    key = parallel.replicate(jax.random.key(0))
    rows = full_rows(options.iw_batch_size, parallel.row_shards)
    few, num_samples = _blank(functions, data, rows), options.iw_samples
    offered = offers(model, params, few, key)
    if not offered.density:
        return FittedEvaluation(config, 1, needs)
    if not offered.latent:
        num_samples = 1
    block = block_size(num_samples, options.iw_tolerance)
    budget = _budget(config)
    memory_bytes = options.memory_mb * 2**20
    if budget:  # what the parameters leave of it
        held = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
        memory_bytes = min(memory_bytes, max(0, budget - held))
    on_each = rows // parallel.row_shards
    states, outputs = task.states(config, data.buckets.widths[-1]), task.outputs(data.resources)
    most = samples_per_chunk(memory_bytes, on_each, outputs, states)

    def weighing(chunk: int) -> Any:
        weigh: Any = functions.importance(block, chunk)
        return weigh.lower(params, few, np.int32(0), key=key).compile()

    _, chunk, memory = fit(
        weighing,
        _halvings(min(block, most)),
        budget,
        what="weighing even {} importance sample at once",
        cure="model.hidden_size or evaluation.iw_batch_size",
    )
    needs[f"importance weights, {chunk} samples at once"] = memory
    return FittedEvaluation(config, chunk, needs)


def _blank(functions: Functions, data: Data, rows: int) -> Batch:
    """Makes a batch as wide as any."""
    first, condition = data.splits["train"].take(np.zeros(rows, np.int64))
    ones: Any = np.ones(rows, np.int32)
    x = resized(first, data.buckets.widths[-1])
    return functions.place(Batch(x, condition, ones - 1, ones.astype(np.float32)))


def _halvings(number: int) -> list[int]:
    return [number >> times for times in range(number.bit_length())]


def _budget(config: ConfigDict) -> int:
    return int(config.training.memory_gb * 2**30)


def forecast(
    needs: dict[str, Memory | None],
    parallel: Parallel,
    say: Callable[[str], None],
    saved: Any = (),
) -> int | None:
    """Prints what each compiled function needs; returns the peak in bytes, or None if not known.

    Their arguments are in use already, and so is their code: the peak is that, and the work space
    of the neediest of them.

    Args:
      needs: name of a compiled function -> its memory per device.
      parallel: where they run.
      say: prints a line.
      saved: what is checkpointed; on a CPU the checkpoint's buffers are taken to be as large.
    """
    for name, memory in needs.items():
        say(f"memory  {name}: {memory or 'not known'}")
    used, found = in_use(), [memory for memory in needs.values() if memory]
    if used is None or len(found) < len(needs):
        say("memory  the peak cannot be predicted here")
        return None
    work, devices = max(memory.work + memory.outputs for memory in found), 1
    if jax.local_devices()[0].platform == "cpu":
        devices = parallel.num_devices // jax.process_count()
        work = max(work * devices, sum(leaf.nbytes for leaf in jax.tree.leaves(saved)))
    predicted = max(used.peak, used.now + work)
    say(f"memory  predicted {megabytes(predicted)}, of which {megabytes(used.now)} are in use now")
    return predicted


def measured(predicted: int | None) -> str:
    """Writes the line at the end of a job."""
    used = in_use()
    before = f"predicted {megabytes(predicted)}, " if predicted else ""
    return f"memory  {before}measured {megabytes(used.peak) if used else 'nothing'}"


def in_use() -> InUse | None:
    """Reads the process's resident set on a CPU, else the device's memory; None if unknown."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats()
        return InUse(stats["bytes_in_use"], stats["peak_bytes_in_use"]) if stats else None
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # not Linux
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return InUse(*(1024 * int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM")))
