"""Everything that a run needs to go on from where it was: one pytree of arrays."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jvae.objectives import Groups
from jvae.training.optimisers import Optimisers
from jvae.types import Array, Params


class Totals(NamedTuple):
    """Sums over the epoch so far; all float32 scalars.

    Attributes:
      loss: nats, over examples.
      metrics: the objective's, by name, over examples.
      rows, symbols: counts of examples, and of what they predict.
      updates: joint (or, in the aggressive phase, decoder) updates.
      inner_updates, inner_rows: the encoder-only ones.
      clipped: updates whose gradient was scaled down.
      grad_norm: sum over updates, before clipping.
    """

    loss: Array
    metrics: dict[str, Array]
    rows: Array
    symbols: Array
    updates: Array
    inner_updates: Array
    inner_rows: Array
    clipped: Array
    grad_norm: Array

    @classmethod
    def zeros(cls, metrics: Iterable[str]) -> "Totals":
        """Returns the sums at the start of an epoch."""
        zeros = {name: jnp.float32(0) for name in cls._fields if name != "metrics"}
        return cls(metrics={name: jnp.float32(0) for name in metrics}, **zeros)


class Fault(NamedTuple):
    """The first non-finite term, if any; int32 scalars.

    Attributes:
      term: 0 for none, k for the k-th of the objective's metrics, one more for the gradient.
      step: the update at which it arose.
      inner: the number of the encoder-only update, or -1 for the joint one.
      row: the row of the epoch's plan, which names the examples.
    """

    term: Array
    step: Array
    inner: Array
    row: Array

    @classmethod
    def none(cls) -> "Fault":
        """Returns the state without a fault."""
        return cls(jnp.int32(0), jnp.int32(0), jnp.int32(-1), jnp.int32(0))


class TrainState(NamedTuple):
    """The whole state of training.

    Attributes:
      step: updates made: the only random state, since every key is folded from it.
      epoch: epochs finished.
      params: by group, the model's and what the objective learns.
      opt_state: of the joint optimiser.
      inner_opt_state: of the encoder-only optimiser.
      own_opt_states: by group, of the objective's own optimisers.
      carried: by name, what the objective counts.
      lr_scale: product of the learning-rate decays so far.
      aggressive: whether the aggressive phase lasts.
      previous_mi: validation mutual information of the epoch before, nats.
      best_score: the highest score so far, see `jvae.training.control.end_epoch`.
      best_epoch: when.
      bad_epochs: epochs since the plateau's reference was last beaten.
      plateau_score: that reference (He et al.'s rule compares with the epoch before a decay).
      decays: learning-rate decays so far.
      totals: sums over the current epoch.
      fault: the first non-finite term.
    """

    step: Array
    epoch: Array
    params: Params
    opt_state: Any
    inner_opt_state: Any
    own_opt_states: dict[str, Any]
    carried: dict[str, Any]
    lr_scale: Array
    aggressive: Array
    previous_mi: Array
    best_score: Array
    best_epoch: Array
    bad_epochs: Array
    plateau_score: Array
    decays: Array
    totals: Totals
    fault: Fault


def create_state(
    params: Params,
    groups: Groups,
    optimisers: Optimisers,
    *,
    metrics: Iterable[str] = ("rec", "kl"),
    aggressive: bool,
) -> TrainState:
    """Makes the state before the first step.

    Args:
      params: the model's.
      groups: what the objective learns and counts.
      optimisers: of the run.
      metrics: names of the objective's.
      aggressive: whether the run starts in the aggressive phase.
    """
    params = params | groups.params
    opt_state, inner_opt_state, own_opt_states = optimisers.init(params)
    return TrainState(
        step=jnp.int32(0),
        epoch=jnp.int32(0),
        params=params,
        opt_state=opt_state,
        inner_opt_state=inner_opt_state,
        own_opt_states=own_opt_states,
        carried=groups.carried,
        lr_scale=jnp.float32(1),
        aggressive=jnp.bool_(aggressive),
        previous_mi=jnp.float32(0),
        best_score=jnp.float32(-jnp.inf),
        best_epoch=jnp.int32(0),
        bad_epochs=jnp.int32(0),
        plateau_score=jnp.float32(-jnp.inf),
        decays=jnp.int32(0),
        totals=Totals.zeros(metrics),
        fault=Fault.none(),
    )


def num_parameters(params: Params) -> int:
    """Counts the numbers of a tree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
