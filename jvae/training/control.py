"""Decisions between epochs: the phase switch, learning-rate decay, the end. Pure functions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jvae.training.state import TrainState


class ControlSettings(NamedTuple):
    """Settings, with the values of He et al.'s released script.

    Attributes:
      epochs: at most so many.
      patience: epochs without a better validation score before the learning rate is cut.
      warm_epochs: no cut before so many epochs are finished.
      decay: what a cut multiplies the learning rate by.
      max_decays: the run ends at so many cuts.
      aggressive_epochs: the aggressive phase lasts at most so long, whatever the MI.
      aggressive_min_epochs: it lasts at least so long. While the KL weight rises the mutual
        information may fall although the inference network still lags.
    """

    epochs: int = 100
    patience: int = 2
    warm_epochs: int = 15
    decay: float = 0.5
    max_decays: int = 5
    aggressive_epochs: int = 100
    aggressive_min_epochs: int = 0


class Decision(NamedTuple):
    """The loop's tasks after an epoch."""

    is_best: bool
    reload_best: bool
    phase_ended: bool


def end_epoch(
    state: TrainState, score: float, mutual_information: float, settings: ControlSettings
) -> tuple[TrainState, Decision]:
    """Closes an epoch.

    Args:
      state: after the epoch's last update.
      score: of the validation split, highest in the best epoch: its ELBO at full KL weight, or
        another where the run learns by another; nats per example.
      mutual_information: of the validation split (He's estimator), nats.
      settings: limits.

    References:
      He et al. (2019), section 4.2: the aggressive phase ends for good at the first epoch in which
      the mutual information falls.
    """
    # As precise as the state keeps them: the same score twice is neither better nor worse.
    score, mutual_information = float(jnp.float32(score)), float(jnp.float32(mutual_information))
    epoch = int(state.epoch) + 1
    was_aggressive = bool(state.aggressive)
    aggressive = (
        was_aggressive
        and (
            mutual_information >= float(state.previous_mi) or epoch < settings.aggressive_min_epochs
        )
        and epoch < settings.aggressive_epochs
    )
    is_best = score > float(state.best_score)

    bad_epochs = int(state.bad_epochs) + 1 if score < float(state.plateau_score) else 0
    cut = bad_epochs >= settings.patience and epoch > settings.warm_epochs
    # The reference is the epoch before, not the best of all, unless that epoch was worse.
    plateau_score = score if bad_epochs == 0 or cut else float(state.plateau_score)
    decays = int(state.decays) + cut

    state = state._replace(
        epoch=jnp.int32(epoch),
        aggressive=jnp.bool_(aggressive),
        previous_mi=jnp.float32(mutual_information),
        best_score=jnp.float32(score) if is_best else state.best_score,
        best_epoch=jnp.int32(epoch) if is_best else state.best_epoch,
        bad_epochs=jnp.int32(0 if cut else bad_epochs),
        plateau_score=jnp.float32(plateau_score),
        lr_scale=state.lr_scale * settings.decay if cut else state.lr_scale,
        decays=jnp.int32(decays),
        totals=jax.tree.map(jnp.zeros_like, state.totals),
    )
    reload_best = bool(cut) and not finished(state, settings)
    return state, Decision(is_best, reload_best, was_aggressive and not aggressive)


def finished(state: TrainState, settings: ControlSettings) -> bool:
    """Tells whether a run has nothing left to do."""
    return int(state.decays) >= settings.max_decays or int(state.epoch) >= settings.epochs
