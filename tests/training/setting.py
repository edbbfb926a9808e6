"""A training problem small enough for every test."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jvae
from jvae.data.batching import Plan, choose_buckets, epoch_plan
from jvae.objectives import Loss
from jvae.remedies import Adversary, InnerLoop, RateControl
from jvae.remedies.kl_schedules import linear
from jvae.training.parallel import MODES, Parallel
from jvae.training.state import TrainState, create_state
from jvae.training.steps import DeviceCorpus, DevicePlan, Step, StepSettings, make_step
from jvae.types import Schedule
from tests.conftest import VOCAB, make_model, make_sentences

NUM, WIDTH, BATCH = 37, 9, 4
KEY = jax.random.key(7)
INNER = InnerLoop(max_updates=13, window=3)
KL_WEIGHT = linear(0.1, 50)


class Problem(NamedTuple):
    """A compiled step and all its arguments."""

    model: jvae.VAE
    step: Step
    raw_step: Step
    parallel: Parallel
    corpus: DeviceCorpus
    host_plan: Plan
    plan: DevicePlan
    state: TrainState
    widths: tuple[int, ...]
    kl_weight: Schedule

    def run(self, state: TrainState, rows) -> TrainState:
        """Several steps; `state` survives the donation."""
        state = copied(state)
        for row in rows:
            scheduled = {"kl_weight": np.float32(self.kl_weight(int(state.step)))}
            key = self.parallel.replicate(KEY)
            state = self.step(state, key, self.corpus, self.plan, np.int32(row), scheduled)
        return state


@jax.jit
def copied(tree: Any) -> Any:
    """One program, where a copy of each array would be one per shape."""
    return jax.tree.map(jnp.copy, tree)


@lru_cache
def make_initialised(vocab_size: int, **model_options) -> tuple[jvae.VAE, Any]:
    """A model and its parameters."""
    tokens, lengths = make_sentences(NUM, WIDTH, vocab_size=vocab_size)
    model = make_model(vocab_size, **model_options)
    batch = jvae.Batch(
        jnp.asarray(tokens[:2]), jnp.asarray(lengths[:2]), jnp.arange(2), jnp.ones(2)
    )
    return model, jax.jit(lambda key: jvae.init(model, batch, key=key))(KEY)


def make_problem(
    mode: str = "jit", num_devices: int = 1, *, aggressive: bool = True, **options
) -> Problem:
    """One per process for the same options; the phase is a number of the state."""
    problem = _make_problem(mode, num_devices, **options)
    if aggressive:
        return problem
    state = problem.state._replace(aggressive=jnp.bool_(False))
    return problem._replace(state=problem.parallel.place_state(state))


@lru_cache
def _make_problem(
    mode: str,
    num_devices: int,
    *,
    vocab_shards: int = 1,
    vocab_size: int = VOCAB,
    inner: InnerLoop | None = INNER,
    learning_rate: float = 0.5,
    clip_norm: float = 5.0,
    microbatches: int = 1,
    optimiser: Any = optax.sgd,
    loss: Loss = jvae.negative_elbo,
    kl_weight: Schedule = KL_WEIGHT,
    rate_control: RateControl | None = None,
    adversary: Adversary | None = None,
    initialise: Callable[..., tuple[jvae.VAE, Any]] = make_initialised,
    buckets: int = 2,
    **model_options,
) -> Problem:
    tokens, lengths = make_sentences(NUM, WIDTH, vocab_size=vocab_size)
    model, params = initialise(vocab_size, **model_options)
    widths = choose_buckets(lengths, buckets).widths
    parallel = MODES[mode](jax.local_devices()[:num_devices], vocab_shards)
    shards = parallel.row_shards
    host_plan = epoch_plan(lengths, widths, BATCH, seed=0, epoch=0, num_devices=shards)
    make = partial(optimiser, learning_rate)
    settings = StepSettings(
        widths,
        clip_norm=clip_norm,
        microbatches=microbatches,
        inner=inner,
        rate_control=rate_control,
        adversary=adversary,
    )
    raw_step = make_step(model, loss, make(), make(), settings, parallel.sharding)
    control = rate_control.init() if rate_control else ()
    opponent = adversary.init(KEY) if adversary else ()
    put = parallel.replicate
    return Problem(
        model=model,
        step=parallel.compile(raw_step),
        raw_step=raw_step,
        parallel=parallel,
        corpus=put(DeviceCorpus(jnp.asarray(tokens), jnp.asarray(lengths))),
        host_plan=host_plan,
        plan=put(DevicePlan(*map(jnp.asarray, host_plan))),
        state=parallel.place_state(
            create_state(
                params,
                make(),
                make(),
                aggressive=True,
                rate_control=control,
                adversary=opponent,
            )
        ),
        widths=widths,
        kl_weight=kl_weight,
    )


def leaves(tree: Any) -> list[np.ndarray]:
    """All arrays of a pytree, on the host."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_close(first: Any, second: Any, **tolerance) -> None:
    """Same structure, same numbers."""
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(leaves(first), leaves(second), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)
