"""Beam search: the likeliest sentence that a bounded search finds."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jvae.batch import BOS, EOS, PAD
from jvae.errors import UserError
from jvae.generation.decoding import Generated, allowed_top_k, check_max_length, steps_of
from jvae.model import Decoder
from jvae.types import Array, Params


class _Beam(NamedTuple):
    step: Array
    carry: Any  # every leaf [W, ...], W the beam size
    token: Array  # [W], the last token of each running hypothesis
    tokens: Array  # [W, max_length]
    log_prob: Array  # [W]; minus infinity where no hypothesis runs
    best: Generated  # of the hypotheses that have ended: one sentence, no batch axis
    best_score: Array


def beam_search(
    decoder: Decoder,
    params: Params,
    z: Any,
    *,
    max_length: int,
    beam_size: int,
    context: Any = None,
    length_penalty: float = 0.0,
    allow_unk: bool = True,
) -> Generated:
    """Searches the best sentence by `score = log p(x | z) / length ** length_penalty`.

    At each step the `beam_size` likeliest continuations of the running hypotheses are kept. Those
    that end with `</s>` stop running and compete by score for the result, and their places are
    free again; the search stops once no running hypothesis can still win. Hypotheses cut at
    `max_length` compete with the score of their prefix. A beam of 1 is greedy decoding; a beam as
    wide as the tree is exhaustive search.

    Args:
      decoder: `p(x | z)`.
      params: the decoder's parameters.
      z: `[B, L]`, or sets.
      max_length: most tokens of a sentence, `</s>` included.
      context: of the condition, if there is one.
      beam_size: hypotheses per sentence; memory is `B * beam_size` decoder states.
      length_penalty: 0 for the plain probability, which prefers short sentences; 1 for the mean
        per token.
      allow_unk: whether `<unk>` may be produced.

    Raises:
      UserError: an option out of its range.

    Source: Wu et al. 2016, section 7, with the plain power of the length for their `lp`.
    """
    check_max_length(max_length)
    if beam_size < 1:
        raise UserError(f"beam_size is {beam_size}: give at least 1 hypothesis")
    if length_penalty < 0:
        raise UserError(f"length_penalty is {length_penalty}: give 0 (none) or more")

    steps = steps_of(decoder)
    # A decoder's carry has no prescribed layout. Mapping over hypotheses, each a batch of one,
    # gives every leaf a leading axis to select from.
    advance = jax.vmap(lambda carry, token: steps.step(params, carry, token[None]))

    def unfinished(beam: _Beam) -> Array:
        # Log-probabilities only fall, so this bounds the score of every possible continuation.
        bound = jnp.max(beam.log_prob) / max_length**length_penalty
        return (beam.step < max_length) & (bound > beam.best_score)

    def extend(beam: _Beam) -> _Beam:
        carry, logits = advance(beam.carry, beam.token)
        logits = logits[:, 0].astype(jnp.float32)
        # One hypothesis cannot keep more continuations than all of them together.
        best, words = allowed_top_k(logits, beam_size, allow_unk=allow_unk)
        gain = best - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
        total = beam.log_prob[:, None] + gain
        log_prob, flat = jax.lax.top_k(total.ravel(), beam_size)
        parent, place = jnp.divmod(flat, total.shape[1])
        token = words[parent, place]
        tokens = beam.tokens[parent].at[:, beam.step].set(token)

        length = beam.step + 1
        ended = (token == EOS) | (length == max_length)
        score = jnp.where(ended, log_prob / length**length_penalty, -jnp.inf)
        first = jnp.argmax(score)
        wins = score[first] > beam.best_score
        ending = Generated(tokens[first], length, log_prob[first])
        return _Beam(
            step=length,
            carry=jax.tree.map(lambda leaf: leaf[parent], carry),
            token=token,
            tokens=tokens,
            log_prob=jnp.where(ended, -jnp.inf, log_prob),
            best=jax.tree.map(lambda new, old: jnp.where(wins, new, old), ending, beam.best),
            best_score=jnp.where(wins, score[first], beam.best_score),
        )

    def search(row: Any) -> Generated:
        z, context = jax.tree.map(lambda leaf: leaf[None], row)
        carry = steps.start(params, z, context, max_length)
        beam = _Beam(
            step=jnp.int32(0),
            carry=jax.tree.map(lambda leaf: jnp.stack([leaf] * beam_size), carry),
            token=jnp.full(beam_size, BOS, jnp.int32),
            tokens=jnp.full((beam_size, max_length), PAD, jnp.int32),
            # One empty sentence, not `beam_size` copies of it.
            log_prob=jnp.full(beam_size, -jnp.inf).at[0].set(0.0),
            best=Generated(
                jnp.full(max_length, PAD, jnp.int32), jnp.int32(0), jnp.float32(-jnp.inf)
            ),
            best_score=jnp.float32(-jnp.inf),
        )
        return jax.lax.while_loop(unfinished, extend, beam).best

    return jax.vmap(search)((z, context))
