"""jvae's own parts of a size, built as a run of the text task builds them.

All that the benchmarks take from jvae's configuration is here.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import jvae
from benchmarks.sizes import TF_HEADS, TF_LAYERS, Size
from jvae.evaluation.corpus import samples_per_chunk
from jvae.remedies import InnerLoop
from jvae.tasks.text.config import default_config
from jvae.tasks.text.model import decoder_states
from jvae.tasks.text.model import make_model as model_of
from jvae.tasks.text.objective import make_objective, make_schedules
from jvae.training.parallel import MODES
from jvae.training.settings import PRECISIONS, make_inner_loop, make_optimisers, make_rates
from jvae.training.state import TrainState, create_state
from jvae.training.steps import DeviceData, DevicePlan, StepSettings, make_step


def make_config(
    size: Size, dropout: float, precision: str = "float32", inner: InnerLoop | None = None
) -> ConfigDict:
    """Makes the configuration of a size: plain SGD, and a KL weight of 1."""
    config = default_config()
    config.model.update(
        encoder=size.encoder,
        decoder=size.decoder,
        latent_size=size.latent_size,
        embed_size=size.embed_size,
        hidden_size=size.hidden_size,
        dropout_in=dropout,
        dropout_out=dropout,
    )
    config.model.transformer.update(layers=TF_LAYERS, heads=TF_HEADS)
    config.training.update(
        batch_size=size.batch_size,
        optimiser="sgd",
        learning_rate=size.learning_rate,
        inner_learning_rate=size.learning_rate,
        precision=precision,
        aggressive=inner is not None,
    )
    if inner is not None:
        config.training.update(inner_max_updates=inner.max_updates, inner_window=inner.window)
    config.objective.kl_schedule = "constant"
    return config


def make_model(size: Size, dropout: float, precision: str = "float32") -> jvae.VAE:
    """Makes the VAE of a size."""
    config = make_config(size, dropout, precision)
    return model_of(config, size.vocab_size, PRECISIONS[precision])


def chunk_size(size: Size, sentences: int) -> int:
    """Returns how many importance samples evaluation decodes at once by default."""
    config = make_config(size, 0.0)
    memory_bytes = config.evaluation.memory_mb * 2**20
    states = decoder_states(config, size.length)
    return samples_per_chunk(memory_bytes, sentences, size.vocab_size, states)


class Training:
    """The compiled step of training and its state, on the first device."""

    def __init__(
        self,
        size: Size,
        weights: dict,
        widths: tuple[int, ...],
        inner: InnerLoop | None,
        precision: str = "float32",
    ):
        config, dtype = make_config(size, size.dropout, precision, inner), PRECISIONS[precision]
        model = model_of(config, size.vocab_size, dtype)
        objective = make_objective(config, model, size.vocab_size, dtype)
        optimisers = make_optimisers(config, objective)
        settings = StepSettings(widths, inner=make_inner_loop(config))
        params, key = jax.tree.map(jnp.asarray, weights), jax.random.key(0)
        groups = objective.init(key, params)
        state = create_state(params, groups, optimisers, aggressive=inner is not None)
        self.parallel = MODES["jit"](jax.local_devices()[:1])
        self.state: TrainState = self.parallel.place_state(state)
        step = make_step(objective, optimisers, settings, self.parallel.sharding)
        schedules = make_schedules(config, 1) | make_rates(config, 1)
        self._scheduled = {name: np.float32(value(0)) for name, value in schedules.items()}
        self._key = self.parallel.replicate(key)
        self._compiled = self.parallel.compile(step)

    def step(self, data: DeviceData, plan: DevicePlan, row: Any) -> None:
        """Makes one update, and what inner ones belong to it, without waiting for the device."""
        self.state = self._compiled(self.state, self._key, data, plan, row, self._scheduled)
