"""The memory of a whole job: predicted before it starts, measured at its end."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jvae.evaluation.corpus import samples_per_chunk
from jvae.evaluation.evaluate import Programs, families
from jvae.evaluation.samples import block_size
from jvae.experiments.setup import Data
from jvae.training.memory import Memory, fit, megabytes, program_memory
from jvae.training.parallel import Parallel
from jvae.types import Batch, Params


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
    iw_chunk: importance samples decoded at once.
    needs: name of a program -> its memory per device, for the widest sentences.
    """

    iw_chunk: int
    needs: dict[str, Memory | None]


def fit_evaluation(
    config: ConfigDict,
    programs: Programs,
    params: Params,
    data: Data,
    parallel: Parallel,
    vocab_size: int,
) -> FittedEvaluation:
    """Chooses the chunk of importance samples, and compiles for the memory of evaluation.

    Raises:
      UserError: not even one sample keeps to `training.memory_gb`.
    """
    options, model = config.evaluation, programs.model
    key = parallel.replicate(jax.random.key(0))

    def blank(batch_size: int) -> Batch:
        rows = parallel.num_devices * math.ceil(batch_size / parallel.num_devices)
        tokens: Any = np.zeros((rows, data.buckets.widths[-1] + 1), np.int32)
        ones: Any = np.ones(rows, np.int32)
        return programs.place(Batch(tokens, ones, ones - 1, ones.astype(np.float32)))

    def compiled(program: Any, *arguments: Any) -> Any:
        return program.lower(params, *arguments, key=key).compile()

    batch = blank(options.batch_size)
    shapes = jax.eval_shape(programs.encode, params, batch, key=key).z
    z = programs.place(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
    needs = {
        "encoding": program_memory(compiled(programs.encode, batch)),
        "decoding": program_memory(compiled(programs.decode, z, batch)),
    }
    if families(model, params, batch, key).point:
        return FittedEvaluation(1, needs)

    few, num_samples = blank(options.iw_batch_size), options.iw_samples
    if model.latent_size == 0:
        num_samples = 1
    block = block_size(num_samples, options.iw_tolerance)
    budget = int(config.training.memory_gb * 2**30)
    memory_bytes = options.memory_mb * 2**20
    if budget:  # what the parameters leave of it
        held = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
        memory_bytes = min(memory_bytes, max(0, budget - held))
    states = decoder_states(config, data.buckets.widths[-1])
    largest = samples_per_chunk(memory_bytes, options.iw_batch_size, vocab_size, states)
    largest = min(block, largest)
    _, chunk, memory = fit(
        lambda chunk: compiled(programs.importance(block, chunk), few, np.int32(0)),
        [largest >> halvings for halvings in range(largest.bit_length())],
        budget,
        what="weighing even {} importance sample at once",
        cure="model.hidden_size or evaluation.iw_batch_size",
    )
    needs[f"importance weights, {chunk} samples at once"] = memory
    return FittedEvaluation(chunk, needs)


def decoder_states(config: ConfigDict, tokens: int) -> int:
    """Floats that a Transformer decoder holds at once of a sentence and a sample of z; else 0.

    Of one block: four arrays of its width, and twice its wide layer or, if they are more, the
    weights, keys and vectors of its attention to a set. XLA's own count for a CPU was between half
    as much and a quarter more.
    """
    model = config.model
    if model.decoder != "transformer":
        return 0
    vectors = (tokens + 1) * (model.nvib_kappa if model.posterior == "nvib" else 1)
    wide = tokens * (model.feed_forward or 4 * model.hidden_size)
    attention = vectors * (tokens * model.heads + model.hidden_size + model.latent_size)
    return int(4 * tokens * model.hidden_size + 2 * max(wide, attention))


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
