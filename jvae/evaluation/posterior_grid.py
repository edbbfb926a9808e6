"""The model's own posterior over a one-dimensional latent, by a grid (He et al., 2019)."""

import jax
import jax.numpy as jnp

from jvae.batch import Batch
from jvae.layers.product import in_float32
from jvae.model import VAE
from jvae.random import Stream, stream
from jvae.types import Array, Key, Params


@in_float32
def model_posterior_mean(
    model: VAE, params: Params, batch: Batch, *, grid: Array, key: Key
) -> Array:
    """Computes `E_p(z|x)[z] = sum_g z_g p(x | z_g) p(z_g) / sum_g p(x | z_g) p(z_g)`.

    Where the encoder's mean differs from it the inference network lags behind the model; where it
    is 0 for all examples the model does without z.

    Args:
      model: a VAE with L = 1.
      params: its parameters.
      batch: B examples.
      grid: `[G]`, evenly spaced points that cover the posterior.
      key: passed on to the decoder, which draws nothing in evaluation.

    Returns:
      `[B]`.

    References:
      He et al. (2019), section 3.2 and figure 3: z from -20 to 20 in steps of 0.1.
    """
    context = model.context(params, batch.condition, key=key, train=False)
    prior = model.prior.apply(params, context)
    decoder_key = stream(key, Stream.DECODER)
    rows = batch.rows

    def log_joint(point: Array) -> Array:
        z = jnp.full((rows, 1), point)
        log_likelihood = model.decoder.log_prob(
            params["decoder"], z, batch, context, key=decoder_key, train=False
        )
        return log_likelihood + prior.log_prob(z)

    # A chunk at a time: [chunk, B, V] logits, as for importance samples.
    weights = jax.nn.softmax(jax.lax.map(log_joint, grid, batch_size=32), axis=0)
    return jnp.sum(weights * grid[:, None], axis=0)
