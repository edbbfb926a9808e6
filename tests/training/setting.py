"""A training problem small enough for every test."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jvae
from jvae.data.batching import Plan, choose_buckets, epoch_plan
from jvae.objectives import Loss, Objective, bound_objective
from jvae.remedies import InnerLoop
from jvae.remedies.kl_schedules import linear
from jvae.training.optimisers import Optimisers
from jvae.training.parallel import MODES, Parallel
from jvae.training.state import TrainState, create_state
from jvae.training.steps import DeviceData, DevicePlan, Step, StepSettings, make_step
from jvae.types import Key, Schedule
from tests.conftest import VOCAB, make_model, make_sentences

NUM, WIDTH, BATCH = 37, 9, 4
KEY = jax.random.key(7)
INNER = InnerLoop(max_updates=13, window=3)
KL_WEIGHT = linear(0.1, 50)
RATE, CLIP_NORM = 0.5, 5.0
SPLIT_AXES = {"embedding": 0, "output_kernel": 1}  # of the largest arrays

# `(objective, model) -> objective`, of the objectives that wrap another.
Remedy = Callable[[Objective, jvae.VAE], Objective]


class Problem(NamedTuple):
    """A compiled step and all its arguments."""

    model: jvae.VAE
    objective: Objective
    step: Step
    raw_step: Step
    parallel: Parallel
    data: DeviceData
    host_plan: Plan
    plan: DevicePlan
    state: TrainState
    widths: tuple[int, ...]
    schedules: dict[str, Schedule]

    @property
    def key(self) -> Key:
        """The root key on the devices."""
        return self.parallel.replicate(KEY)

    def scheduled(self, step: int) -> dict[str, np.float32]:
        """The values of the schedules at a step."""
        return {name: np.float32(schedule(step)) for name, schedule in self.schedules.items()}

    @property
    def arguments(self) -> tuple:
        """What the first step is called with."""
        return self.state, self.key, self.data, self.plan, np.int32(0), self.scheduled(0)

    def run(self, state: TrainState, rows) -> TrainState:
        """Several steps; `state` survives the donation."""
        state = copied(state)
        for row in rows:
            scheduled = self.scheduled(int(state.step))
            state = self.step(state, self.key, self.data, self.plan, np.int32(row), scheduled)
        return state


@jax.jit
def copied(tree: Any) -> Any:
    """One compiled function, where a copy of each array would be one per shape."""
    return jax.tree.map(jnp.copy, tree)


@lru_cache
def make_initialised(vocab_size: int, **model_options) -> tuple[jvae.VAE, Any]:
    """A model and its parameters."""
    tokens, lengths = make_sentences(NUM, WIDTH, vocab_size=vocab_size)
    model = make_model(vocab_size, **model_options)
    batch = jvae.text_batch(tokens[:2], lengths[:2])
    return model, jax.jit(lambda key: jvae.init(model, batch, key=key))(KEY)


def make_problem(
    mode: str = "jit",
    num_devices: int = 1,
    *,
    aggressive: bool = True,
    learning_rate: float = RATE,
    clip_norm: float = CLIP_NORM,
    kl_weight: Schedule = KL_WEIGHT,
    **options,
) -> Problem:
    """One per process for the same options; the phase is a number of the state, rates are too."""
    problem = _make_problem(mode, num_devices, **options)
    numbers = {
        "learning_rate": learning_rate,
        "inner_learning_rate": learning_rate,
        "clip_norm": clip_norm,
    }
    schedules = {name: optax.constant_schedule(value) for name, value in numbers.items()}
    problem = problem._replace(schedules=schedules | {"kl_weight": kl_weight})
    if aggressive:
        return problem
    state = problem.state._replace(aggressive=jnp.bool_(False))
    return problem._replace(state=problem.parallel.place_state(state))


@lru_cache
def _make_problem(
    mode: str,
    num_devices: int,
    *,
    model_shards: int = 1,
    vocab_size: int = VOCAB,
    inner: InnerLoop | None = INNER,
    microbatches: int = 1,
    optimiser: Callable[[], optax.GradientTransformation] = optax.identity,
    loss: Loss = jvae.negative_elbo,
    remedy: Remedy = lambda objective, model: objective,
    initialise: Callable[..., tuple[jvae.VAE, Any]] = make_initialised,
    buckets: int = 2,
    **model_options,
) -> Problem:
    tokens, lengths = make_sentences(NUM, WIDTH, vocab_size=vocab_size)
    model, params = initialise(vocab_size, **model_options)
    objective = remedy(bound_objective(model, loss), model)
    optimisers = Optimisers(optimiser(), optimiser(), objective.optimisers)
    widths = choose_buckets(lengths, buckets).widths
    parallel = MODES[mode](jax.local_devices()[:num_devices], model_shards, SPLIT_AXES)
    shards = parallel.row_shards
    host_plan = epoch_plan(lengths, widths, BATCH, seed=0, epoch=0, num_devices=shards)
    settings = StepSettings(widths, microbatches, inner)
    raw_step = make_step(objective, optimisers, settings, parallel.sharding)
    groups = jax.jit(objective.init)(KEY, params)
    state = create_state(params, groups, optimisers, aggressive=True)
    put = parallel.replicate
    return Problem(
        model=model,
        objective=objective,
        step=parallel.compile(raw_step),
        raw_step=raw_step,
        parallel=parallel,
        data=put(DeviceData(jax.tree.map(jnp.asarray, jvae.Tokens(tokens, lengths)))),
        host_plan=host_plan,
        plan=put(DevicePlan(*map(jnp.asarray, host_plan))),
        state=parallel.place_state(state),
        widths=widths,
        schedules={},
    )


def leaves(tree: Any) -> list[np.ndarray]:
    """All arrays of a pytree, on the host."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_close(first: Any, second: Any, **tolerance) -> None:
    """Same structure, same numbers."""
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(leaves(first), leaves(second), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)
