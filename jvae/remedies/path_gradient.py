"""Sticking the landing: the encoder's gradient without the part that is zero on average."""

from typing import Any, NamedTuple

import jax

from jvae.batch import Batch
from jvae.model import Encoder, Inference
from jvae.types import Array, Key, Params


class PathPosterior(NamedTuple):
    """`q`, whose density passes no gradient on to its own parameters, only to the sample.

    It has no KL in closed form: `jvae.elbo` estimates it, `log q(z | x) - log p(z)`.

    Attributes:
      q: any family.
    """

    q: Any

    @property
    def mean(self) -> Array:
        """`[B, L]`."""
        return self.q.mean

    @property
    def log_var(self) -> Array:
        """`[B, L]`."""
        return self.q.log_var

    def sample(self, keys: Key) -> Array:
        """Draws by reparameterisation, keys `[B]` -> `[B, L]`."""
        return self.q.sample(keys)

    def log_prob(self, z: Array) -> Array:
        """`[B, L]` -> `[B]`, nats."""
        return jax.lax.stop_gradient(self.q).log_prob(z)


def stick_the_landing(encoder: Encoder) -> Encoder:
    """`d ELBO / d encoder = E[d (log p(x, z) - log q(z | x)) / dz  dz / d encoder]`, in training.

    The part left out, the mean of `d log q(z | x) / d encoder` at fixed z, is zero, but its sample
    is not: without it the noise of the gradient vanishes as q nears the true posterior, while the
    closed form of the KL keeps that of the reconstruction. Outside training nothing changes.

    References:
      Roeder et al. (2017), Sticking the Landing, equation 7.
    """

    def apply(
        params: Params, batch: Batch, context: Any = None, *, key: Key, train: bool
    ) -> Inference:
        inference = Inference.of(encoder.apply(params, batch, context, key=key, train=train))
        if not train:
            return inference
        return inference._replace(posterior=PathPosterior(inference.posterior))

    return encoder._replace(apply=apply)
