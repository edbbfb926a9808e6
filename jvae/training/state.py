"""Everything that a run needs to go on from where it was: one pytree of arrays."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jvae.types import Array, Params

# Codes of `Fault.term`: what was not finite.
FAULT_TERMS = {1: "reconstruction", 2: "KL", 3: "gradient"}


class Totals(NamedTuple):
    """Sums over the epoch so far; all float32 scalars.

    Attributes:
      loss, rec, kl: nats, over sentences.
      sentences, tokens: counts.
      updates: joint (or, in the aggressive phase, decoder) updates.
      inner_updates, inner_sentences: the encoder-only ones.
      clipped: updates whose gradient was scaled down.
      grad_norm: sum over updates, before clipping.
    """

    loss: Array
    rec: Array
    kl: Array
    sentences: Array
    tokens: Array
    updates: Array
    inner_updates: Array
    inner_sentences: Array
    clipped: Array
    grad_norm: Array

    @classmethod
    def zeros(cls) -> "Totals":
        """The start of an epoch."""
        return cls(*(jnp.float32(0) for _ in cls._fields))


class Fault(NamedTuple):
    """The first non-finite term, if any; int32 scalars.

    Attributes:
      term: 0, or a key of `FAULT_TERMS`.
      step: the update at which it arose.
      inner: the number of the encoder-only update, or -1 for the joint one.
      row: the row of the epoch's plan, which names the sentences.
    """

    term: Array
    step: Array
    inner: Array
    row: Array

    @classmethod
    def none(cls) -> "Fault":
        """All is well."""
        return cls(jnp.int32(0), jnp.int32(0), jnp.int32(-1), jnp.int32(0))


class TrainState(NamedTuple):
    """The whole state of training.

    Attributes:
      step: updates made: the only random state, since every key is folded from it.
      epoch: epochs finished.
      params: the model's.
      opt_state: of the joint optimiser.
      inner_opt_state: of the encoder-only optimiser.
      lr_scale: product of the halvings so far.
      aggressive: whether the aggressive phase lasts.
      previous_mi: validation mutual information of the epoch before, nats.
      best_elbo: the highest score so far, see `jvae.training.control.end_epoch`.
      best_epoch: when.
      bad_epochs: epochs since the plateau's reference was last beaten.
      plateau_elbo: that reference (He et al.'s rule compares with the epoch before a decay).
      decays: halvings so far.
      totals: sums over the current epoch.
      fault: the first non-finite term.
      rate_control: the state of `jvae.remedies.RateControl`, empty without it.
      adversary: that of `jvae.remedies.Adversary`: its discriminator and optimiser.
    """

    step: Array
    epoch: Array
    params: Params
    opt_state: Any
    inner_opt_state: Any
    lr_scale: Array
    aggressive: Array
    previous_mi: Array
    best_elbo: Array
    best_epoch: Array
    bad_epochs: Array
    plateau_elbo: Array
    decays: Array
    totals: Totals
    fault: Fault
    rate_control: Any = ()
    adversary: Any = ()


def create_state(
    params: Params,
    optimiser: optax.GradientTransformation,
    inner_optimiser: optax.GradientTransformation,
    *,
    aggressive: bool,
    rate_control: Any = (),
    adversary: Any = (),
) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.int32(0),
        epoch=jnp.int32(0),
        params=params,
        opt_state=optimiser.init(params),
        inner_opt_state=inner_optimiser.init(params["encoder"]),
        lr_scale=jnp.float32(1),
        aggressive=jnp.bool_(aggressive),
        previous_mi=jnp.float32(0),
        best_elbo=jnp.float32(-jnp.inf),
        best_epoch=jnp.int32(0),
        bad_epochs=jnp.int32(0),
        plateau_elbo=jnp.float32(-jnp.inf),
        decays=jnp.int32(0),
        totals=Totals.zeros(),
        fault=Fault.none(),
        rate_control=rate_control,
        adversary=adversary,
    )


def num_parameters(params: Params) -> int:
    """How many numbers."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
