"""Filling in the blanks of a sentence by beam search, the known words forced."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jvae.batch import BOS, SPECIALS, Tokens
from jvae.errors import UserError
from jvae.generation.decoding import steps_of
from jvae.model import Decoder
from jvae.types import Array, Params


class Filled(NamedTuple):
    """The likeliest fillings, best first.

    Attributes:
      tokens: `[B, W, T + 1]` int32, the sentences of the batch with their blanks filled.
      log_prob: `[B, W]`, `log p(sentence | z)`, nats; minus infinity where there are fewer than
        W fillings, and the tokens mean nothing.
    """

    tokens: Array
    log_prob: Array


class _Beam(NamedTuple):
    carry: Any  # every leaf [W, ...]
    token: Array  # [W], which the decoder reads next
    tokens: Array  # [W, T]
    log_prob: Array  # [W]


def fill_blanks(
    decoder: Decoder,
    params: Params,
    z: Any,
    x: Tokens,
    blank: Array,
    *,
    beam_size: int,
    context: Any = None,
) -> Filled:
    """Searches the fillings of greatest `log p(x | z)`; the words outside the blanks are fixed.

    A blank is one word, none of the special tokens. At every position the `beam_size` likeliest
    beginnings are kept. A known word adds its log-probability, so that it tells the words before
    it apart as long as they are in the beam; what comes later is known to the search only through
    z. A beam as wide as the number of fillings is exhaustive search.

    Args:
      decoder: `p(x | z)`.
      params: the decoder's parameters.
      z: `[B, L]`, or sets.
      x: the sentences; the tokens at blanks are not read.
      blank: `[B, T]` bool, by predicted token.
      beam_size: W; memory is `B * W` decoder states.
      context: of the condition, if there is one.

    Raises:
      UserError: `beam_size` below 1.
    """
    chex.assert_shape(blank, x.targets.shape)
    if beam_size < 1:
        raise UserError(f"beam_size is {beam_size}: give at least 1 hypothesis")
    decoding = steps_of(decoder)
    # As in `beam_search`: a leading axis of hypotheses, whatever the carry's layout.
    advance = jax.vmap(lambda carry, token: decoding.step(params, carry, token[None]))

    def extend(beam: _Beam, position: tuple[Array, Array, Array, Array]) -> tuple[_Beam, None]:
        step, known, free, real = position
        carry, logits = advance(beam.carry, beam.token)
        gain = jax.nn.log_softmax(logits[:, 0].astype(jnp.float32))
        numbers = np.arange(gain.shape[1])
        allowed = jnp.where(free, numbers >= len(SPECIALS), numbers == known)
        # Behind the end <pad> is the known token, and costs nothing.
        gain = jnp.where(allowed, jnp.where(real, gain, 0.0), -jnp.inf)
        total = beam.log_prob[:, None] + gain
        log_prob, flat = jax.lax.top_k(total.ravel(), beam_size)
        parent, token = jnp.divmod(flat, gain.shape[1])
        token = token.astype(jnp.int32)
        return (
            _Beam(
                carry=jax.tree.map(lambda leaf: leaf[parent], carry),
                token=token,
                tokens=beam.tokens[parent].at[:, step].set(token),
                log_prob=log_prob,
            ),
            None,
        )

    def search(row: Any, known: Array, free: Array, real: Array) -> Filled:
        steps = known.shape[0]
        z, context = jax.tree.map(lambda leaf: leaf[None], row)
        carry = decoding.start(params, z, context, steps)
        beam = _Beam(
            carry=jax.tree.map(lambda leaf: jnp.stack([leaf] * beam_size), carry),
            token=jnp.full(beam_size, BOS, jnp.int32),
            tokens=jnp.zeros((beam_size, steps), jnp.int32),
            log_prob=jnp.full(beam_size, -jnp.inf).at[0].set(0.0),
        )
        beam, _ = jax.lax.scan(extend, beam, (jnp.arange(steps), known, free, real))
        begin = jnp.full((beam_size, 1), BOS, jnp.int32)
        return Filled(jnp.concatenate([begin, beam.tokens], axis=1), beam.log_prob)

    return jax.vmap(search)((z, context), x.targets, blank, x.mask)
