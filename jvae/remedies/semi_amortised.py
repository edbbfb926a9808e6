"""Semi-amortised inference: the encoder's posterior, made better for its sentence by gradient."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jvae.batch import Batch
from jvae.configs import option
from jvae.distributions import DiagonalGaussian
from jvae.model import VAE
from jvae.objectives import elbo
from jvae.random import Stream, stream
from jvae.types import Array, Key, Params


def semi_amortised(
    model: VAE, *, steps: int, learning_rate: float, momentum: float, clip_norm: float
) -> VAE:
    """Adds `refine` after the model's encoder, in training as in evaluation.

    Training differentiates through the steps, so that encoder, decoder and prior learn to be
    refined. See `refine` for the arguments.
    """
    return model._replace(
        refine=partial(
            refine,
            steps=steps,
            learning_rate=learning_rate,
            momentum=momentum,
            clip_norm=clip_norm,
        )
    )


@dataclasses.dataclass(frozen=True)
class SemiAmortisedOptions:
    """Options of refined posteriors. The source's are of the mean of 32 sentences."""

    steps: int = option(20, "gradient steps on each posterior", above=0)
    rate: float = option(1 / 32, "step size, for a sentence's gradient", above=0)
    momentum: float = option(0.5, "momentum of the steps", at_least=0, below=1)
    clip: float = option(28.0, "largest norm of a sentence's gradient", above=0)


def build_semi_amortised(options: SemiAmortisedOptions, shared: Any) -> Callable[[VAE], VAE]:
    """Builds the map of models of a configuration."""
    del shared
    return partial(
        semi_amortised,
        steps=options.steps,
        learning_rate=options.rate,
        momentum=options.momentum,
        clip_norm=options.clip,
    )


def refine(
    model: VAE,
    params: Params,
    q: DiagonalGaussian,
    batch: Batch,
    context: Any = None,
    *,
    key: Key,
    train: bool,
    steps: int,
    learning_rate: float,
    momentum: float,
    clip_norm: float,
) -> DiagonalGaussian:
    """`v = momentum v + clip(grad ELBO(q))`, `q = q + learning_rate v`: K times, on mean, log_var.

    The ELBO has weight 1 and one sample of z. A step's noise is drawn from its number and the
    sentence's: the result does not depend on the rest of the batch. Derivatives of it are exact,
    and each step is computed again for them, so that memory holds one step.

    Args:
      model: the VAE.
      params: its parameters.
      q: the encoder's posterior, `[B, L]`.
      batch: B examples.
      context: of the condition, the same in all steps.
      key: the one that the terms are computed from (`jvae.elbo`).
      train: whether dropout acts, drawn anew in each step.
      steps: K.
      learning_rate: of a sentence's own ELBO, nats.
      momentum: below 1.
      clip_norm: of a sentence's gradient, of mean and log variance apart.

    References:
      Kim et al. (2018), Semi-Amortized Variational Autoencoders, algorithm 1.
    """
    conditioner = model.conditioner
    if conditioner is not None:  # The context is known.
        conditioner = conditioner._replace(apply=lambda *_, **__: context)
    amortised = model._replace(refine=None, conditioner=conditioner)

    def bound(q: DiagonalGaussian, key: Key) -> Array:
        given = model.encoder._replace(apply=lambda *_, **__: q)
        terms = elbo(amortised._replace(encoder=given), params, batch, key=key, train=train)
        return jnp.sum(terms.elbo)  # of which each sentence has its own gradient

    @jax.checkpoint
    def step(
        state: tuple[DiagonalGaussian, DiagonalGaussian], number: Array
    ) -> tuple[tuple[DiagonalGaussian, DiagonalGaussian], None]:
        q, velocity = state
        gradient = jax.grad(bound)(q, stream(key, Stream.REFINEMENT, number))
        clipped = jax.tree.map(partial(_clip, norm=clip_norm), gradient)
        velocity = jax.tree.map(lambda v, g: momentum * v + g, velocity, clipped)
        return (jax.tree.map(lambda x, v: x + learning_rate * v, q, velocity), velocity), None

    still = jax.tree.map(jnp.zeros_like, q)
    (refined, _), _ = jax.lax.scan(step, (q, still), jnp.arange(steps))
    return refined


def _clip(gradient: Array, norm: float) -> Array:
    """`[B, L]`, rows of at most this length. A row of zeros has a derivative, too."""
    squared = jnp.sum(jnp.square(gradient), axis=-1, keepdims=True)
    return gradient * (norm * jax.lax.rsqrt(jnp.maximum(squared, norm**2)))
