"""Greedy decoding by the Transformer: does a token cost more the more of them came before?

    python -m benchmarks.prefix

Decodes past every `</s>` up to `--max-length`, in blocks of 16 tokens of one compiled function, and
prints the time per token of the blocks that follow 16, 64 and 256 tokens. The caches hold the
longest sentence from the start, so `--max-length=32 --prefixes=16` beside it tells what attention
costs.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.building import make_model
from benchmarks.machine import Clock
from benchmarks.sizes import SIZES, random_weights
from jvae.batch import BOS
from jvae.generation.decoding import likeliest, steps_of
from jvae.model import Decoder
from jvae.types import Array, Params

BLOCK = 16  # tokens

# The decoder's carry and the tokens last chosen, `[B]`.
State = tuple[Any, Array]


def start(decoder: Decoder, params: Params, z: Array, max_length: int) -> State:
    """Before the first token."""
    return steps_of(decoder).start(params, z, None, max_length), jnp.full(len(z), BOS, jnp.int32)


def continued(decoder: Decoder, tokens: int) -> Callable[[Params, State], tuple[State, Array]]:
    """The steps of `jvae.generation.greedy`, so many of them: the state, and `[tokens, B]`."""

    def advance(params: Params, state: State) -> tuple[State, Array]:
        carry, logits = steps_of(decoder).step(params, *state)
        token = likeliest(logits, allow_unk=True)
        return (carry, token), token

    return lambda params, state: jax.lax.scan(
        lambda state, _: advance(params, state), state, length=tokens
    )


def main() -> None:
    """Prints one line for each prefix."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="captions_tf")
    parser.add_argument("--sentences", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=272)
    parser.add_argument("--prefixes", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    if any(p % BLOCK or not 0 <= p <= options.max_length - BLOCK for p in options.prefixes):
        parser.error(f"prefixes are multiples of {BLOCK}, and at most --max-length less {BLOCK}")

    size = SIZES[options.size]
    decoder = make_model(size, 0.0).decoder
    params = jax.tree.map(jnp.asarray, random_weights(size, 0)["decoder"])
    z = jax.random.normal(jax.random.key(0), (options.sentences, size.latent_size))
    block = jax.jit(continued(decoder, BLOCK), donate_argnums=1)
    first = jax.jit(lambda params: start(decoder, params, z, options.max_length))
    times: dict[int, list[float]] = {prefix: [] for prefix in options.prefixes}
    with Clock() as clock:
        for number in range(options.rounds + 1):  # the first one compiles
            state = first(params)
            for prefix in range(0, max(options.prefixes) + BLOCK, BLOCK):
                before = time.perf_counter()
                state, tokens = block(params, jax.block_until_ready(state))
                tokens.block_until_ready()
                if number and prefix in times:
                    times[prefix].append((time.perf_counter() - before) / BLOCK)
    print(
        f"{options.size}, {options.sentences} sentences, caches of {options.max_length} tokens; "
        f"median [range] of {options.rounds} rounds; others used {clock.foreign:.1f} cores"
    )
    for prefix, seconds in times.items():
        low, middle, high = (1e3 * f(seconds) for f in (min, statistics.median, max))
        print(f"after {prefix:4d} tokens  {middle:.2f} ms a token [{low:.2f}-{high:.2f}]")


if __name__ == "__main__":
    main()
