"""Batch-normalised posterior means (BN-VAE): a KL that cannot vanish on average."""

import jax
import jax.numpy as jnp

from jvae.distributions import DiagonalGaussian
from jvae.types import Array, Batch, Key, Params
from jvae.vae import Encoder

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
    of zero, set by `measure` after each update, so that checkpoints, the best epoch and resuming
    carry them like any weight.

    Args:
      encoder: with diagonal Gaussian posteriors.
      gamma: 0.7 in the source's best models; it tries 0.3 to 0.7.
      latent_size: L.

    References:
      Zhu et al. (2020), A Batch Normalized Inference Network Keeps the KL Vanishing Away,
      section 3 and equation 6.
    """

    def init(key: Key, batch: Batch) -> Params:
        # Each leaf an array of its own, for a step's state is donated.
        return {
            "encoder": encoder.init(key, batch),
            "shift": jnp.zeros(latent_size),
            "running": {"mean": jnp.zeros(latent_size), "var": jnp.ones(latent_size)},
            "measured": jnp.zeros(()),  # how often
        }

    def apply(params: Params, batch: Batch, *, key: Key, train: bool) -> DiagonalGaussian:
        q = encoder.apply(params["encoder"], batch, key=key, train=train)
        moments = _moments(q.mean, batch.weight) if train else params["running"]
        scale = gamma * jax.lax.rsqrt(moments["var"] + EPSILON)
        mean = scale * (q.mean - moments["mean"]) + params["shift"]
        return DiagonalGaussian(mean, q.log_var)

    def measure(params: Params, batch: Batch, *, key: Key) -> Params:
        # Without the encoder's noise, as evaluation will read them.
        q = encoder.apply(params["encoder"], batch, key=key, train=False)
        now = _moments(q.mean, batch.weight)
        # A plain average at first: a short run would else keep much of the initial moments.
        measured = params["measured"] + 1
        rate = jnp.maximum(MOMENTUM, 1 / measured)
        running = jax.tree.map(lambda old, new: old + rate * (new - old), params["running"], now)
        return params | {"running": running, "measured": measured}

    return Encoder(init, apply, measure=measure)


def _moments(mean: Array, weight: Array) -> dict[str, Array]:
    """Over the real rows: `[B, L]` and `[B]` -> `[L]`."""
    share = weight / jnp.sum(weight)
    centre = share @ mean
    return {"mean": centre, "var": share @ jnp.square(mean - centre)}
