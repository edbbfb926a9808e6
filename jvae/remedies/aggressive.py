"""Aggressive training of the inference network (He et al., 2019), as one compiled loop.

Early in training the encoder lags behind the decoder, which therefore learns to do without z. So
long as this phase lasts, each update of the decoder is preceded by encoder-only updates until the
loss stops falling.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jvae.types import Array, Params


class InnerLoop(NamedTuple):
    """Settings, with the source's values.

    Attributes:
      max_updates: at most so many encoder updates before each decoder update.
      window: the stop rule compares the mean loss per symbol of successive windows of this many.
      clip: whose gradient norm limits an update: "encoder", or "joint" as in the source's script,
        which needs the decoder's gradient too.
    """

    max_updates: int = 100
    window: int = 15
    clip: str = "encoder"


class InnerState(NamedTuple):
    """The carry of the loop.

    Attributes:
      encoder: the encoder's parameters.
      opt_state: the inner optimiser's state.
      updates: how many were made.
      rows: how many examples they saw.
      window_loss, window_symbols: sums over the current window.
      previous: mean loss per symbol of the window before.
      fault: 0, or the code of the non-finite term that ended the loop.
      stop: whether the loop is over.
    """

    encoder: Params
    opt_state: Any
    updates: Array
    rows: Array
    window_loss: Array
    window_symbols: Array
    previous: Array
    fault: Array
    stop: Array


class InnerUpdate(NamedTuple):
    """One encoder-only update: the new values, and the sums of its batch over the real rows."""

    encoder: Params
    opt_state: Any
    loss: Array
    symbols: Array
    rows: Array
    fault: Array


def aggressive_update(
    update: Callable[[Params, Any, Array], InnerUpdate],
    encoder: Params,
    opt_state: Any,
    settings: InnerLoop,
    *,
    active: Array,
) -> InnerState:
    """Updates the encoder until the loss per symbol of a window exceeds that of the one before.

    One `lax.while_loop`: nothing leaves the device before it ends.

    Args:
      update: `(encoder, opt_state, number) -> InnerUpdate`; it draws its own batch and noise.
      encoder: the encoder's parameters.
      opt_state: the state of the inner optimiser.
      settings: limits and stop rule.
      active: whether the aggressive phase lasts; if not, the loop makes no turn.

    References:
      He et al. (2019), Lagging Inference Networks and Posterior Collapse, algorithm 1; the window
      and the limit are those of the released script.
    """

    def body(state: InnerState) -> InnerState:
        new = update(state.encoder, state.opt_state, state.updates)
        updates = state.updates + 1
        loss, symbols = state.window_loss + new.loss, state.window_symbols + new.symbols
        full = updates % settings.window == 0
        mean = loss / symbols
        stop = (full & (mean > state.previous)) | (updates >= settings.max_updates)
        return InnerState(
            encoder=new.encoder,
            opt_state=new.opt_state,
            updates=updates,
            rows=state.rows + new.rows,
            window_loss=jnp.where(full, 0.0, loss),
            window_symbols=jnp.where(full, 0.0, symbols),
            previous=jnp.where(full, mean, state.previous),
            fault=new.fault,
            stop=stop | (new.fault != 0),
        )

    zero, none = jnp.float32(0), jnp.int32(0)
    infinity = jnp.float32(jnp.inf)
    start = InnerState(encoder, opt_state, none, zero, zero, zero, infinity, none, ~active)
    return jax.lax.while_loop(lambda state: ~state.stop, body, start)
