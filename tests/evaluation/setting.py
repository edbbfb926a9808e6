"""A VAE without networks: its posteriors stand in a table, its likelihood is a function of z."""

from collections.abc import Callable
from typing import Any

import jvae


def table_model(
    posterior: Callable[..., Any], log_likelihood: Callable[..., Any], latent_size: int
) -> jvae.VAE:
    """Of `(table, index [B]) -> posterior` and `z -> [B]`; it cannot decode."""
    return jvae.VAE(
        jvae.Encoder(
            init=lambda key, batch: {},
            apply=lambda table, batch, *, key, train: posterior(table, batch.index),
        ),
        jvae.Decoder(
            init=lambda key, z, batch: {},
            log_prob=lambda params, z, batch, *, key, train: log_likelihood(z),
            start=lambda params, z, max_length: z,
            step=lambda params, carry, token: (carry, carry),
        ),
        jvae.standard_normal(latent_size=latent_size),
        latent_size,
    )
