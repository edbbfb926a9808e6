"""The options of training that every task shares, and what they make."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import optax

from jvae.capabilities import (
    DIAGONAL,
    JOINT_UPDATES,
    ONE_FUNCTION,
    POSTERIOR,
    WHOLE_BATCH,
)
from jvae.components import Choice, Component, Group, Rule, Switch
from jvae.configs import option
from jvae.errors import UserError
from jvae.objectives import Objective
from jvae.remedies.aggressive import InnerLoop
from jvae.training.control import ControlSettings
from jvae.training.optimisers import OPTIMISERS, Optimisers
from jvae.types import DType, Schedule

PRECISIONS: dict[str, DType] = {"float32": None, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """Options of the training loop. The defaults are He et al.'s (2019) without the inner loop."""

    seed: int = option(0, "seed of all randomness", at_least=0, below=2**31)
    epochs: int = option(100, "epochs at most", above=0, free=True)
    batch_size: int = option(32, "examples of an update, over all devices", above=0)
    max_batches: int = option(0, "batches of an epoch, drawn anew each time; 0: all", at_least=0)
    optimiser: str = option("sgd", "optimiser of all parameters", choices=OPTIMISERS)
    learning_rate: float = option(1.0, "learning rate of the optimiser", above=0)
    warmup_steps: int = option(0, "updates in which the learning rate rises from 0", at_least=0)
    cosine_epochs: float = option(
        0.0,
        "epochs in which the learning rates fall to 0 along half a cosine; 0: they stay",
        at_least=0,
    )
    clip_norm: float = option(5.0, "norm above which a gradient is scaled down", above=0)
    precision: str = option(
        "float32", "number type of the factors of training's products", choices=PRECISIONS
    )
    aggressive: bool = option(False, "encoder updates before each update of the rest")
    aggressive_epochs: int = option(100, "most epochs of the aggressive phase")
    aggressive_min_epochs: int = option(0, "least epochs of that phase, whatever the MI")
    inner_optimiser: str = option("sgd", "optimiser of the encoder's updates", choices=OPTIMISERS)
    inner_learning_rate: float = option(1.0, "learning rate of that optimiser", above=0)
    inner_max_updates: int = option(100, "most encoder updates before each other update", above=0)
    inner_window: int = option(15, "encoder updates whose mean losses are compared", above=0)
    inner_clip: str = option(
        "encoder", "gradient whose norm is clipped", choices=("encoder", "joint")
    )
    patience: int = option(2, "epochs without a better score before the rate decays", above=0)
    warm_epochs: int = option(15, "first epochs, in which the rate does not decay")
    decay: float = option(0.5, "factor of a learning-rate decay", above=0, at_most=1)
    max_decays: int = option(5, "decays after which the run ends", above=0)
    num_devices: int = option(0, "devices in use; 0: all", at_least=0, free=True)
    model_shards: int = option(
        1, "parts of the largest arrays, on other devices", above=0, free=True
    )
    coordinator: str = option("", "several processes: host:port of the first, or auto", place=True)
    num_processes: int = option(1, "number of processes", above=0, place=True)
    process_id: int = option(0, "number of this process, from 0", at_least=0, place=True)
    memory_gb: float = option(
        0.0,
        "memory limit of a device, kept by computing in parts; 0: no limit",
        at_least=0,
        free=True,
    )
    log_seconds: float = option(10.0, "seconds between lines of progress", free=True)
    profile: int = option(0, "steps that are traced into the run directory", at_least=0, free=True)
    start_from: str = option("", "another run's directory, whose best parameters this one takes")


TRAINING = Group(
    "training",
    TrainingOptions,
    choices=(
        Choice(
            "parallel",
            {
                "jit": Component(gives=frozenset({ONE_FUNCTION})),
                "pmap": Component(),
            },
            "jit",
            "how a step spreads over devices",
            free=True,
        ),
    ),
    switches=(
        Switch(
            "aggressive",
            on=Component(
                needs={
                    POSTERIOR: "the inner loop trains it",
                    DIAGONAL: "the phase ends by the mutual information of such posteriors",
                }
            ),
            off=Component(gives=frozenset({JOINT_UPDATES})),
        ),
        Switch(
            "memory_gb",
            on=Component(needs={ONE_FUNCTION: "pmap cannot cut batches into parts"}),
            off=Component(gives=frozenset({WHOLE_BATCH})),
        ),
        Switch(
            "model_shards",
            on=Component(
                rules=(
                    Rule(
                        lambda config: (
                            config.training.model_shards == 1 or config.training.parallel == "jit"
                        ),
                        lambda config: "training.model_shards needs training.parallel = 'jit'",
                    ),
                )
            ),
        ),
    ),
)


def make_optimisers(config: Any, objective: Objective) -> Optimisers:
    """Makes the joint optimiser, the encoder's for the inner loop, and the objective's own."""
    options = config.training
    joint, inner = OPTIMISERS[options.optimiser](), OPTIMISERS[options.inner_optimiser]()
    return Optimisers(joint, inner, objective.optimisers)


def make_rates(config: Any, steps_per_epoch: int) -> dict[str, Schedule]:
    """Makes the schedules that each step of training asks for, by name.

    Raises:
      UserError: the warm-up does not end before the cosine does.
    """
    options = config.training
    total = round(options.cosine_epochs * steps_per_epoch)
    if total and options.warmup_steps >= total:
        raise UserError(
            f"training.warmup_steps = {options.warmup_steps} takes all the {total} updates of "
            f"training.cosine_epochs = {options.cosine_epochs}; give it fewer"
        )

    def rate(peak: float, warmup: int = 0) -> Schedule:
        if total:
            return optax.warmup_cosine_decay_schedule(0.0 if warmup else peak, peak, warmup, total)
        return optax.linear_schedule(0.0, peak, warmup) if warmup else optax.constant_schedule(peak)

    return {
        "learning_rate": rate(options.learning_rate, options.warmup_steps),
        "inner_learning_rate": rate(options.inner_learning_rate),
        "clip_norm": optax.constant_schedule(options.clip_norm),
    }


def make_inner_loop(config: Any) -> InnerLoop | None:
    """Makes the settings of aggressive training, or None."""
    options = config.training
    if not options.aggressive:
        return None
    return InnerLoop(options.inner_max_updates, options.inner_window, options.inner_clip)


def make_control(config: Any) -> ControlSettings:
    """Makes the settings of what happens between epochs."""
    options = config.training
    return ControlSettings(
        epochs=options.epochs,
        patience=options.patience,
        warm_epochs=options.warm_epochs,
        decay=options.decay,
        max_decays=options.max_decays,
        aggressive_epochs=options.aggressive_epochs,
        aggressive_min_epochs=options.aggressive_min_epochs,
    )
