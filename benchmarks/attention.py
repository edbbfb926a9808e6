"""Denoising attention beside ordinary attention of the same shape, in turns.

    python -m benchmarks.attention

One head, P = E. Both start from projected queries and the memory's vectors, so that the projections
of keys and values are timed too; a step is one more token over what was prepared before. The ratio
is denoising attention's time over ordinary attention's, round by round, of which the median and the
range are shown. A round runs all forms forth and back; one during which other processes used more
than a tenth of a core is taken again, five times at most.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import Clock
from jvae.distributions import VectorSet
from jvae.layers.denoising import Impulses, attend, denoising_attention, precompute

FOREIGN_LIMIT = 0.1  # cores
ATTEMPTS = 5
SAMPLE_SECONDS = 0.2  # a call is repeated within a sample until it is so long


class Shape(NamedTuple):
    """B sentences, T queries, K vectors, P dimensions."""

    batch: int
    steps: int
    rows: int
    size: int


SHAPES = [Shape(32, 20, 21, 128), Shape(32, 64, 65, 256), Shape(32, 50, 51, 512)]


def ordinary(query: jax.Array, memory: VectorSet, *kernels: jax.Array) -> jax.Array:
    """Attention over the vectors, masked."""
    keys, values = (jnp.einsum("bkp,phe->bkhe", memory.vectors, kernel) for kernel in kernels)
    mask = memory.present[:, None, None]
    return jax.nn.dot_product_attention(query, keys, values, mask=mask)


def ordinary_step(query: jax.Array, prepared: Impulses) -> jax.Array:
    """The same over keys and values."""
    mask = prepared.bias[:, None, None] > -jnp.inf
    return jax.nn.dot_product_attention(query, prepared.keys, prepared.values, mask=mask)


def make_forms(shape: Shape) -> dict[str, Callable[[], Any]]:
    """What is timed, ordinary attention first of all and first of the steps."""
    rng = np.random.default_rng(0)
    batch, steps, rows, size = shape

    def normal(*dimensions: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=dimensions), jnp.float32)

    query = normal(batch, steps, 1, size)
    kernels = [normal(size, 1, size) / np.sqrt(size) for _ in range(2)]
    counts = rng.integers(rows // 2, rows + 1, batch)
    log_weights = jnp.where(np.arange(rows) < counts[:, None], normal(batch, rows), -jnp.inf)
    mixture = VectorSet(normal(batch, rows, size), log_weights, normal(batch, rows, size))
    impulses = mixture._replace(log_vars=None)

    def compiled(function: Callable, *args, **options) -> Callable[[], Any]:
        run = jax.jit(lambda *args: function(*args, **options))
        return lambda: jax.block_until_ready(run(*args))

    forms = {
        "ordinary": compiled(ordinary, query, impulses, *kernels),
        "impulses": compiled(denoising_attention, query, impulses, *kernels),
    }
    for variant in ("half", "v1", "exact"):
        forms[variant] = compiled(denoising_attention, query, mixture, *kernels, variant=variant)
    prepared = [jax.jit(precompute)(memory, *kernels) for memory in (impulses, mixture)]
    forms["ordinary step"] = compiled(ordinary_step, query[:, :1], prepared[0])
    forms["impulses step"] = compiled(attend, query[:, :1], prepared[0], *kernels)
    forms["half step"] = compiled(attend, query[:, :1], prepared[1], *kernels)
    return forms


def repeats(run: Callable[[], Any]) -> int:
    """Calls that fill a sample."""
    run()
    number = 1
    while True:
        with Clock() as clock:
            for _ in range(number):
                run()
        if clock.seconds > SAMPLE_SECONDS / 4:
            return max(1, round(number * SAMPLE_SECONDS / clock.seconds))
        number *= 4


def one_round(forms: dict[str, Callable[[], Any]], numbers: dict[str, int]) -> dict[str, float]:
    """Seconds of a call of each form, forth and back."""
    for _ in range(ATTEMPTS):
        seconds = dict.fromkeys(forms, 0.0)
        foreign = []
        for name in [*forms, *reversed(forms)]:
            with Clock() as clock:
                for _ in range(numbers[name]):
                    forms[name]()
            seconds[name] += clock.seconds / numbers[name] / 2
            foreign.append(clock.foreign)
        if statistics.mean(foreign) < FOREIGN_LIMIT:
            return seconds
    print(f"  other processes used {statistics.mean(foreign):.1f} cores meanwhile")
    return seconds


def main() -> None:
    """Prints a line for each shape and form."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    for shape in SHAPES:
        forms = make_forms(shape)
        numbers = {name: repeats(run) for name, run in forms.items()}
        rounds = [one_round(forms, numbers) for _ in range(options.rounds)]
        print("B {}, T {}, K {}, P {}".format(*shape))
        for name in forms:
            base = "ordinary step" if "step" in name else "ordinary"
            ratios = [seconds[name] / seconds[base] for seconds in rounds]
            median = statistics.median(seconds[name] for seconds in rounds)
            print(
                f"  {name:14s}{1e3 * median:8.3f} ms, {statistics.median(ratios):.2f} "
                f"[{min(ratios):.2f}-{max(ratios):.2f}] of {base}",
                flush=True,
            )


if __name__ == "__main__":
    main()
