"""A corpus that is on disk only: memory over time, and speed beside the resident form.

    python -m benchmarks.streaming --sentences=20000000

Draws sentences block by block onto the disk of --folder, where they have no name and go with the
process; trains on all of them, streamed; then, on the first --part of them, lets the resident form
and the streamed one train in turns, in the order A B B A, joint and aggressive. Memory is the
process' resident set: nothing of it is shared with the disk's cache.
"""

import argparse
import statistics
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import building
from benchmarks.sizes import SIZES, Size, usual_start
from jvae.batch import EOS, UNK, Tokens
from jvae.data.batching import Plan, choose_buckets, epoch_plan
from jvae.data.split import Split
from jvae.data.store import StoredTokens
from jvae.remedies import InnerLoop
from jvae.training.loop import SYNC_EVERY
from jvae.training.parallel import MODES, Parallel
from jvae.training.pipeline import Pipeline, inner_rows, own_row, resident, streamed
from jvae.training.steps import DeviceData

BLOCK = 100_000
SHORTEST, LONGEST = 5, 16  # predicted tokens


def megabytes() -> int:
    """The resident set of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    raise RuntimeError("/proc/self/status has no VmRSS")


def say(start: float, what: str) -> None:
    """One line with the time and the memory."""
    print(f"{time.monotonic() - start:7.1f} s  {megabytes():6,d} MB  {what}", flush=True)


def write_corpus(folder: Path, sentences: int, vocab_size: int) -> Split:
    """Random sentences, written block by block."""
    stored = StoredTokens(folder, np.uint16)
    lengths = np.empty(sentences, np.int32)
    for first in range(0, sentences, BLOCK):
        rng = np.random.default_rng([0, first])
        block = rng.integers(SHORTEST, LONGEST + 1, min(BLOCK, sentences - first), np.int32)
        flat = rng.integers(UNK + 1, vocab_size, block.sum(), np.uint16)
        flat[np.cumsum(block) - 1] = EOS
        stored.append(flat)
        lengths[first : first + len(block)] = block
    stored.seal(lengths)
    return Split(Tokens(stored, lengths), lengths)


class Training(building.Training):
    """A training run as `jvae.training.loop` drives it, from any input pipeline."""

    def __init__(
        self,
        size: Size,
        widths: tuple[int, ...],
        pipeline: Pipeline,
        plan: Plan,
        inner: InnerLoop | None,
    ):
        super().__init__(size, usual_start(size), widths, inner)
        self.inner = inner
        self._inputs = pipeline.inputs(plan, 0, 0, inner is not None)

    def run(self, steps: int) -> float:
        """Makes so many steps and returns the seconds per step."""
        start = time.monotonic()
        for number in range(steps):
            self.step(*next(self._inputs))
            if (number + 1) % SYNC_EVERY == 0 or self.inner is not None:
                float(self.state.totals.loss)
        jax.block_until_ready(self.state)
        return (time.monotonic() - start) / steps

    def close(self) -> None:
        """Ends the threads."""
        self._inputs.close()


def compare(
    size: Size, part: Split, inner: InnerLoop | None, rounds: int, steps: int, parallel: Parallel
) -> None:
    """The same steps in both forms, in turns."""
    widths = choose_buckets(part.widths, 4).widths
    plan = epoch_plan(part.widths, widths, size.batch_size, seed=0, epoch=0)
    sentences, _ = part.take(np.arange(len(part)))
    data = parallel.replicate(DeviceData(jax.tree.map(jnp.asarray, sentences)))
    draw, capacity = own_row, 1
    if inner is not None:
        capacity = inner.max_updates
        draw = jax.jit(partial(inner_rows, jax.random.key(0), capacity))
    pipelines: dict[str, Pipeline] = {
        "resident": resident(data, parallel.replicate),
        "streamed": streamed(part, draw, capacity, parallel.replicate),
    }
    runs = {
        name: Training(size, widths, pipeline, plan, inner) for name, pipeline in pipelines.items()
    }
    for run in runs.values():
        run.run(2)  # compiles
    ratios, seconds = [], {name: [] for name in pipelines}
    for number in range(rounds):
        order = list(runs) if number % 2 == 0 else list(runs)[::-1]
        for name in order:
            seconds[name].append(runs[name].run(steps))
        ratios.append(seconds["resident"][-1] / seconds["streamed"][-1])
    same = all(
        np.array_equal(a, b)
        for a, b in zip(*(jax.tree.leaves(run.state.params) for run in runs.values()), strict=True)
    )
    for run in runs.values():
        run.close()
    kind = "joint" if inner is None else f"aggressive, {inner.max_updates} inner updates"
    rates = ", ".join(f"{name} {1 / statistics.median(s):.2f}" for name, s in seconds.items())
    print(
        f"{kind}: steps/s {rates}; streamed / resident, median of {rounds} rounds of {steps} steps "
        f"{statistics.median(ratios):.3f} [{min(ratios):.3f}-{max(ratios):.3f}]; "
        f"parameters {'equal' if same else 'DIFFER'}",
        flush=True,
    )


def main() -> None:
    """Prints what it finds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sentences", type=int, default=20_000_000)
    parser.add_argument("--steps", type=int, default=400, help="on the whole corpus")
    parser.add_argument("--part", type=int, default=200_000, help="sentences for the comparison")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--size", choices=SIZES, default="captions")
    parser.add_argument("--folder", type=Path, default=Path("."))
    options = parser.parse_args()
    size, start = SIZES[options.size], time.monotonic()
    parallel = MODES["jit"](jax.local_devices()[:1])

    say(start, "at the start")
    split = write_corpus(options.folder, options.sentences, size.vocab_size)
    say(start, f"{options.sentences:,} sentences, {split.symbols.sum():,} tokens on disk")
    buckets = choose_buckets(split.widths, 4)
    say(start, f"{buckets}")
    plan = epoch_plan(split.widths, buckets.widths, size.batch_size, seed=0, epoch=0)
    say(start, f"plan of an epoch, {len(plan.bucket):,} batches")
    pipeline = streamed(split, own_row, 1, parallel.replicate)
    training = Training(size, buckets.widths, pipeline, plan, None)
    training.run(SYNC_EVERY)
    say(start, "first steps")
    before = megabytes()
    for number in range(8):
        seconds = training.run(options.steps // 8)
        say(start, f"step {(number + 1) * (options.steps // 8)}, {1 / seconds:.2f} steps/s")
    print(f"growth over {options.steps} steps: {megabytes() - before} MB")
    training.close()
    del plan, training, pipeline

    part = split.first(options.part)
    compare(size, part, None, options.rounds, 16, parallel)
    compare(size, part, InnerLoop(20, 21), options.rounds, 1, parallel)


if __name__ == "__main__":
    main()
