"""Inverse autoregressive flows: each dimension shifted and scaled by those before it."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jvae.configs import option
from jvae.posteriors.family import Family
from jvae.posteriors.flow import Flow, split_base
from jvae.types import Array

OPEN = 2.0  # added to a gate's logit: at the start the steps change little


class AutoregressiveStep(NamedTuple):
    """`f(z)_l = g_l z_l + (1 - g_l) m_l`; `m_l` and the gate `g_l` of the dimensions before l.

    Attributes:
      inner: `[L, H]`, masked.
      context: `[B, H]`, what the sentence adds to the hidden units.
      outer: `[H, 2 L]`, masked: to the shifts m and to the gates' logits.
      bias: `[2 L]`.
    """

    inner: Array
    context: Array
    outer: Array
    bias: Array

    def forward(self, z: Array) -> tuple[Array, Array]:
        """Returns the image, and `sum_l log g_l`."""
        hidden = jnp.tanh(z @ self.inner + self.context)
        shift, logit = jnp.split(hidden @ self.outer + self.bias, 2, axis=-1)
        gate = jax.nn.sigmoid(logit + OPEN)
        log_det = jnp.sum(jax.nn.log_sigmoid(logit + OPEN), axis=-1)
        return gate * z + (1 - gate) * shift, log_det


def masks(order: np.ndarray, hidden: int) -> tuple[np.ndarray, np.ndarray]:
    """Makes masks `[L, H]`, `[H, L]`: output l sees the inputs before l in the order.

    References:
      Germain et al. (2015), MADE: Masked Autoencoder for Distribution Estimation, section 3.
    """
    size = len(order)
    place = np.argsort(order)
    sees = np.arange(hidden) * size // hidden  # a unit sees so many inputs; none: the context alone
    return place[:, None] < sees, sees[:, None] <= place


class IAF(nn.Module):
    """`[B, D] -> Flow`, D outputs: the base's `2 L`, and `hidden` of context for each step.

    Attributes:
      steps: K.
      hidden: H, units of each step's masked layer.
    """

    steps: int
    hidden: int

    @nn.compact
    def __call__(self, outputs: Array) -> Flow:
        """Makes the posteriors."""
        size = (outputs.shape[-1] - self.steps * self.hidden) // 2
        base, rest = split_base(outputs, size)
        steps = []
        for k, context in enumerate(jnp.split(rest, self.steps, axis=-1)):
            order = np.arange(size)[:: -1 if k % 2 else 1]  # so that each dimension comes late once
            first, second = masks(order, self.hidden)
            second = np.concatenate([second, second], axis=1)
            inner = self.param(f"inner_{k}", nn.initializers.lecun_normal(), first.shape)
            outer = self.param(f"outer_{k}", nn.initializers.normal(0.01), second.shape)
            bias = self.param(f"bias_{k}", nn.initializers.zeros, (2 * size,))
            steps.append(AutoregressiveStep(inner * first, context, outer * second, bias))
        return Flow(base, tuple(steps))


def iaf(*, steps: int, hidden: int) -> Family:
    """Makes inverse autoregressive flows, with masked layers that the last layer feeds.

    A draw and its density cost one pass through the layers, whatever L.

    Args:
      steps: K, orders of the dimensions in turn reversed.
      hidden: H, units of each step's masked layer.

    References:
      Kingma et al. (2016), Improving Variational Inference with Inverse Autoregressive Flow,
      algorithm 1, with its gates.
    """
    return Family(lambda size: 2 * size + steps * hidden, IAF(steps, hidden))


@dataclasses.dataclass(frozen=True)
class IAFOptions:
    """Options of inverse autoregressive flows."""

    steps: int = option(2, "flows, each in the reverse order of the one before", above=0)
    hidden: int = option(64, "units of each step's masked layer", above=0)


def build_iaf(options: IAFOptions, shared: Any) -> Family:
    """Builds the family of a configuration."""
    del shared
    return iaf(steps=options.steps, hidden=options.hidden)
