"""Batch-normalised posterior means (BN-VAE): a KL that cannot vanish on average."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jvae.batch import Batch
from jvae.components import Rule
from jvae.configs import option
from jvae.distributions import DiagonalGaussian
from jvae.model import Encoder, Inference
from jvae.types import Array, Key, Params

NAME = "batch_norm"  # of its part of the encoder's parameters
MOMENTUM = 0.1  # that of PyTorch's BatchNorm1d, which the source uses
# Its 1e-5 is above the variance that small initial weights give the means: they then shrink below
# it, and the KL with them (BUILD_NOTES, "Deviations from papers").
EPSILON = 1e-12


def batch_norm(encoder: Encoder, *, gamma: float, latent_size: int) -> Encoder:
    """`mean' = gamma (mean - E[mean]) / sqrt(Var[mean] + epsilon) + shift`, moments of the batch.

    gamma is fixed, the shift is learnt. The KL to `N(0, I)`, averaged over the batch, is then at
    least `1/2 sum_l (shift_l^2 + gamma^2 v_l / (v_l + epsilon))` with `v_l = Var[mean_l]`: about
    `L gamma^2 / 2`.

    Evaluation takes running moments. They are leaves of the encoder's parameters with a gradient
    of zero, which `after` sets from the moments of the update's own batch, so that checkpoints, the
    best epoch and resuming carry them like any weight. All of it lies beside the encoder's own
    parameters, under "batch_norm".

    Args:
      encoder: with diagonal Gaussian posteriors.
      gamma: 0.7 in the source's best models; it tries 0.3 to 0.7.
      latent_size: L.

    References:
      Zhu et al. (2020), A Batch Normalized Inference Network Keeps the KL Vanishing Away,
      section 3 and equation 6.
    """

    def init(key: Key, batch: Batch, context: Any = None) -> Params:
        # Each leaf is an array of its own, for a step's state is donated.
        own = {
            "shift": jnp.zeros(latent_size),
            "running": {"mean": jnp.zeros(latent_size), "var": jnp.ones(latent_size)},
            "updates": jnp.zeros(()),
        }
        return encoder.init(key, batch, context) | {NAME: own}

    def apply(
        params: Params, batch: Batch, context: Any = None, *, key: Key, train: bool
    ) -> Inference:
        inner = {name: value for name, value in params.items() if name != NAME}
        inference = Inference.of(encoder.apply(inner, batch, context, key=key, train=train))
        own, q = params[NAME], inference.posterior
        moments = _moments(q.mean, batch.weight) if train else own["running"]
        scale = gamma * jax.lax.rsqrt(moments["var"] + EPSILON)
        mean = scale * (q.mean - moments["mean"]) + own["shift"]
        inference = inference._replace(posterior=DiagonalGaussian(mean, q.log_var))
        if not train:
            return inference
        statistics = {"batches": jnp.ones(()), "moments": jax.lax.stop_gradient(moments)}
        return inference._replace(statistics=inference.statistics | {NAME: statistics})

    def after(params: Params, statistics: Any) -> Params:
        own, counted = params[NAME], statistics[NAME]
        # A plain average at first: a short run would else keep much of the initial moments.
        updates = own["updates"] + 1
        rate = jnp.maximum(MOMENTUM, 1 / updates)
        running = jax.tree.map(
            lambda old, total: old + rate * (total / counted["batches"] - old),
            own["running"],
            counted["moments"],
        )
        return params | {NAME: own | {"running": running, "updates": updates}}

    return Encoder(init, apply, after=after)


@dataclasses.dataclass(frozen=True)
class BatchNormOptions:
    """Options of batch-normalised posterior means."""

    gamma: float = option(0.7, "standard deviation of the posterior means", above=0)


def build_batch_norm(options: BatchNormOptions, shared: Any) -> Callable[[Encoder], Encoder]:
    """Builds the map of encoders of a configuration."""
    return partial(batch_norm, gamma=options.gamma, latent_size=shared.latent_size)


SEVERAL_ROWS = Rule(
    lambda config: config.training.batch_size >= 2,
    lambda config: (
        f"model.posterior_map = {config.model.posterior_map!r} needs training.batch_size of at "
        f"least 2, not {config.training.batch_size}: its moments vary"
    ),
)


def _moments(mean: Array, weight: Array) -> dict[str, Array]:
    """Computes mean and variance over the real rows: `[B, L]` and `[B]` -> `[L]`."""
    share = weight / jnp.sum(weight)
    centre = share @ mean
    return {"mean": centre, "var": share @ jnp.square(mean - centre)}
