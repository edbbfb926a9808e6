"""The memory of a whole job: predicted before it starts, measured at its end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jvae.batch import Batch, resized
from jvae.data.batching import full_rows
from jvae.evaluation.corpus import samples_per_chunk
from jvae.evaluation.evaluate import families
from jvae.evaluation.programs import Programs
from jvae.evaluation.samples import block_size
from jvae.experiments.setup import Data
from jvae.training.memory import Memory, fit, megabytes
from jvae.training.parallel import Parallel
from jvae.types import Params


class InUse(NamedTuple):
    """Bytes of the process (CPU), or of its first device.

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
    needs: name of a program -> its memory per device, for the widest sentences.
    """

    config: ConfigDict
    iw_chunk: int
    needs: dict[str, Memory | None]


def fit_batches(
    config: ConfigDict, programs: Programs, params: Params, data: Data, parallel: Parallel
) -> tuple[ConfigDict, dict[str, Memory | None]]:
    """Chooses the batch size of validation and evaluation, and compiles for their memory.

    Returns:
      The configuration with that `evaluation.batch_size`, and the programs' memory per device.

    Raises:
      UserError: not even one sentence on each device keeps to `training.memory_gb`.
    """
    key = parallel.replicate(jax.random.key(0))
    encode: Any = programs.encode
    decode: Any = programs.decode

    def encoding(rows: int) -> Any:
        batch = _blank(programs, data, rows * parallel.row_shards)
        return encode.lower(params, batch, key=key).compile()

    def decoding(rows: int) -> Any:
        batch = _blank(programs, data, rows * parallel.row_shards)
        shapes = jax.eval_shape(encode, params, batch, key=key).z
        z = programs.place(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
        return decode.lower(params, z, batch, key=key).compile()

    rows = full_rows(config.evaluation.batch_size, parallel.row_shards) // parallel.row_shards
    needs: dict[str, Memory | None] = dict.fromkeys(("encoding", "decoding"))
    # The needier one first: the other is then compiled for the rows that are left.
    for name, build in (("decoding", decoding), ("encoding", encoding)):
        _, rows, needs[name] = fit(
            build,
            _halvings(rows),
            _budget(config),
            what=f"{name} even {{}} sentence at once",
            cure="model.hidden_size or data.max_length",
        )
    fitted = config.copy_and_resolve_references()
    fitted.evaluation.batch_size = rows * parallel.row_shards
    return fitted, needs


def fit_evaluation(
    config: ConfigDict,
    programs: Programs,
    params: Params,
    data: Data,
    parallel: Parallel,
    vocab_size: int,
) -> FittedEvaluation:
    """`fit_batches`, and likewise the chunk of importance samples.

    Raises:
      UserError: not even one sentence, or sample, keeps to `training.memory_gb`.
    """
    config, needs = fit_batches(config, programs, params, data, parallel)
    options, model = config.evaluation, programs.model
    key = parallel.replicate(jax.random.key(0))
    rows = full_rows(options.iw_batch_size, parallel.row_shards)
    few, num_samples = _blank(programs, data, rows), options.iw_samples
    if families(model, params, few, key).point:
        return FittedEvaluation(config, 1, needs)

    if families(model, params, few, key).empty:
        num_samples = 1
    block = block_size(num_samples, options.iw_tolerance)
    budget = _budget(config)
    memory_bytes = options.memory_mb * 2**20
    if budget:  # what the parameters leave of it
        held = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
        memory_bytes = min(memory_bytes, max(0, budget - held))
    on_each = rows // parallel.row_shards
    states = decoder_states(config, data.buckets.widths[-1])
    most = samples_per_chunk(memory_bytes, on_each, vocab_size, states)

    def weighing(chunk: int) -> Any:
        weigh: Any = programs.importance(block, chunk)
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


def _blank(programs: Programs, data: Data, rows: int) -> Batch:
    """A batch of the widest sentences."""
    first, condition = data.splits["train"].take(np.zeros(rows, np.int64))
    ones: Any = np.ones(rows, np.int32)
    x = resized(first, data.buckets.widths[-1])
    return programs.place(Batch(x, condition, ones - 1, ones.astype(np.float32)))


def _halvings(number: int) -> list[int]:
    return [number >> times for times in range(number.bit_length())]


def _budget(config: ConfigDict) -> int:
    return int(config.training.memory_gb * 2**30)


def decoder_states(config: ConfigDict, tokens: int) -> int:
    """Floats that a Transformer decoder holds at once of a sentence and a sample of z; else 0.

    Of one block: four arrays of its width, and both sides of its wide layer or the attention's
    weights; keys, values and vectors of a set.
    """
    model = config.model
    if model.decoder != "transformer":
        return 0
    vectors = (tokens + 1) * (model.nvib_kappa if model.posterior == "nvib" else 1)
    wide = max(model.feed_forward or 4 * model.hidden_size, model.heads * vectors)
    of_set = vectors * (model.hidden_size + model.latent_size)
    return int(2 * tokens * (wide + 2 * model.hidden_size) + 2 * of_set)


def forecast(
    needs: dict[str, Memory | None],
    parallel: Parallel,
    say: Callable[[str], None],
    saved: Any = (),
) -> int | None:
    """Says what each program needs and what the peak will be: bytes, or None if not known.

    What the programs are given is in use already, and so is their code: the peak is that, and the
    work space of the neediest of them.

    Args:
      needs: name of a program -> its memory per device.
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
    """The line at the end of a job."""
    used = in_use()
    before = f"predicted {megabytes(predicted)}, " if predicted else ""
    return f"memory  {before}measured {megabytes(used.peak) if used else 'nothing'}"


def in_use() -> InUse | None:
    """The process's resident set on a CPU, else the first device's memory; None if not told."""
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
