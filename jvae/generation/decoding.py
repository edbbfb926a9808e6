"""Greedy decoding and sampling: from `z` to sentences, one token at a time.

Decoding reads only the contract of a decoder, `start` and `step`. All of it is batched and may be
compiled; every option is a static Python number.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jvae.batch import BOS, EOS, PAD, SPECIALS, UNK
from jvae.errors import UserError
from jvae.layers import next_token_log_prob
from jvae.model import Decoder, Steps
from jvae.random import example_keys
from jvae.types import Array, Key, Params

TEMPERATURES = 1e-6, 1e6  # within them quotients of logits are finite, and the limits are reached


class Generated(NamedTuple):
    """Decoded sentences.

    Attributes:
      tokens: `[B, max_length]` int32, `w_1 .. w_n </s> <pad> ..`. A sentence that did not end
        within `max_length` tokens is cut there, and has no `</s>`.
      lengths: `[B]` int32, the words, and `</s>` if it was reached.
      log_prob: `[B]`, `log p(tokens | z)` in nats under the model itself: the whole vocabulary,
        temperature 1, no truncation, however the tokens were chosen. For a cut sentence it is
        the probability of the prefix.
    """

    tokens: Array
    lengths: Array
    log_prob: Array


class _State(NamedTuple):
    step: Array
    carry: Any
    token: Array  # [B], the last one, which the decoder reads next
    ended: Array  # [B]
    tokens: Array
    log_prob: Array


def forbid(logits: Array, *, allow_unk: bool) -> Array:
    """Minus infinity for the tokens that no sentence contains, `[..., V]` -> `[..., V]`.

    Args:
      logits: or log-probabilities.
      allow_unk: whether `<unk>` may be produced; `<pad>` and `<s>` never are.
    """
    banned = np.zeros(logits.shape[-1], bool)
    banned[[PAD, BOS] if allow_unk else [PAD, BOS, UNK]] = True
    return jnp.where(banned, -jnp.inf, logits)


def num_rows(z: Any) -> int:
    """Returns B of latent vectors `[B, L]` or sets."""
    return int(jax.tree.leaves(z)[0].shape[0])


def top_k(values: Array, k: int) -> tuple[Array, Array]:
    """Computes `jax.lax.top_k` of `[.., V]`: the k largest and their numbers, `[.., k]` each.

    Equal values give the lower numbers. Where V is a multiple of some 64 to 256, the maxima of
    blocks come first: that reduction is vectorised on a CPU, a search for numbers is not.
    """
    size = values.shape[-1]
    width = next((width for width in range(64, 257) if size % width == 0), size)
    if size // width <= k:
        return jax.lax.top_k(values, k)
    blocks = values.reshape(*values.shape[:-1], -1, width)
    # The k largest lie in the k blocks of the largest maxima; sorted, so that of equal values the
    # first stays the first.
    best = jnp.sort(jax.lax.top_k(jnp.max(blocks, axis=-1), k)[1], axis=-1)[..., None]
    flat = (*values.shape[:-1], k * width)
    numbers = (best * width + jnp.arange(width, dtype=jnp.int32)).reshape(flat)
    found, places = jax.lax.top_k(jnp.take_along_axis(blocks, best, axis=-2).reshape(flat), k)
    return found, jnp.take_along_axis(numbers, places, axis=-1)


def allowed_top_k(logits: Array, k: int, *, allow_unk: bool) -> tuple[Array, Array]:
    """Returns the k largest of the tokens that sentences contain, `[.., V]` -> values, tokens.

    Args:
      logits: not yet passed to `forbid`.
      k: how many at least; a few more come, and those that are forbidden are minus infinity.
      allow_unk: see `forbid`.
    """
    # As many more as may be forbidden. To mask all logits first would cost more than the search.
    values, tokens = top_k(logits, min(k + len(SPECIALS) - 1, logits.shape[-1]))
    forbidden = (tokens == PAD) | (tokens == BOS) | ((tokens == UNK) & (not allow_unk))
    return jnp.where(forbidden, -jnp.inf, values), tokens


def likeliest(logits: Array, *, allow_unk: bool) -> Array:
    """Returns the `argmax` over the tokens that sentences contain, `[B, V]` -> `[B]` int32.

    Equal logits give the lower number; for the arguments see `allowed_top_k`.
    """
    values, tokens = allowed_top_k(logits, 1, allow_unk=allow_unk)
    first = jnp.argmax(values, axis=-1, keepdims=True)
    return jnp.take_along_axis(tokens, first, axis=-1)[..., 0]


def truncate(logits: Array, *, top_k: int = 0, top_p: float = 1.0) -> Array:
    """Keeps the likeliest tokens and gives the others minus infinity, `[..., V]` -> `[..., V]`.

    First the `top_k` largest logits; then, of what is left and renormalised, the smallest set of
    likeliest tokens whose probability reaches `top_p`. It always holds at least one token. Of equal
    logits, the token of the lower number goes first.

    Args:
      logits: `[..., V]`.
      top_k: how many tokens at most; 0 for all.
      top_p: the probability to cover, in (0, 1]; 1 for all.

    Source: Fan et al. 2018 (top-k); Holtzman et al. 2020 (top-p).
    """
    vocabulary = logits.shape[-1]
    top_k = min(top_k, vocabulary) or vocabulary
    if top_k == vocabulary and top_p >= 1:
        return logits
    kept, ids = jax.lax.top_k(logits, top_k)
    if top_p < 1:
        probabilities = jax.nn.softmax(kept, axis=-1)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        kept = jnp.where(before < top_p, kept, -jnp.inf)
    nothing = jnp.full_like(logits, -jnp.inf)
    return jnp.put_along_axis(nothing, ids, kept, axis=-1, inplace=False)


def _decode(
    decoder: Decoder,
    params: Params,
    z: Any,
    context: Any,
    choose: Callable[[Array, Array], Array],
    max_length: int,
) -> Generated:
    """Decodes with `choose(logits [B, V], step) -> token [B]` until every sentence has ended."""
    check_max_length(max_length)
    steps, rows = steps_of(decoder), num_rows(z)

    def unfinished(state: _State) -> Array:
        return (state.step < max_length) & ~jnp.all(state.ended)

    def advance(state: _State) -> _State:
        carry, logits = steps.step(params, state.carry, state.token)
        logits = logits.astype(jnp.float32)
        token = choose(logits, state.step)
        gain = next_token_log_prob(logits, token)
        token = jnp.where(state.ended, PAD, token)
        return _State(
            step=state.step + 1,
            carry=carry,
            token=token,
            ended=state.ended | (token == EOS),
            tokens=state.tokens.at[:, state.step].set(token),
            log_prob=state.log_prob + jnp.where(state.ended, 0.0, gain),
        )

    state = _State(
        step=jnp.int32(0),
        carry=steps.start(params, z, context, max_length),
        token=jnp.full(rows, BOS, jnp.int32),
        ended=jnp.zeros(rows, bool),
        tokens=jnp.full((rows, max_length), PAD, jnp.int32),
        log_prob=jnp.zeros(rows, jnp.float32),
    )
    state = jax.lax.while_loop(unfinished, advance, state)
    lengths = jnp.sum(state.tokens != PAD, axis=-1, dtype=jnp.int32)
    return Generated(state.tokens, lengths, state.log_prob)


def greedy(
    decoder: Decoder,
    params: Params,
    z: Any,
    *,
    max_length: int,
    context: Any = None,
    allow_unk: bool = True,
) -> Generated:
    """Takes the likeliest token at every step, `x_t = argmax p(x_t | x_<t, z)`.

    Args:
      decoder: `p(x | z)`.
      params: the decoder's parameters.
      z: `[B, L]`, or sets.
      max_length: most tokens of a sentence, `</s>` included.
      context: of the condition, if there is one.
      allow_unk: whether `<unk>` may be produced.

    Raises:
      UserError: `max_length` below 1.
    """

    def choose(logits: Array, step: Array) -> Array:
        del step
        return likeliest(logits, allow_unk=allow_unk)

    return _decode(decoder, params, z, context, choose, max_length)


def sample(
    decoder: Decoder,
    params: Params,
    z: Any,
    *,
    key: Key,
    max_length: int,
    context: Any = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    allow_unk: bool = True,
) -> Generated:
    """Draws every token, `x_t ~ softmax(truncate(logits / temperature))`.

    Row `i` draws from `fold_in(fold_in(key, i), step)`, so that a sentence depends on its place in
    the batch and on nothing else in it.

    Args:
      decoder: `p(x | z)`.
      params: the decoder's parameters.
      z: `[B, L]`, or sets.
      key: of this batch.
      max_length: most tokens of a sentence, `</s>` included.
      context: of the condition, if there is one.
      temperature: above 0, see `TEMPERATURES`; below 1 sharpens.
      top_k: only the `top_k` likeliest tokens; 0 for all.
      top_p: only the likeliest tokens that cover this probability; 1 for all.
      allow_unk: whether `<unk>` may be produced.

    Raises:
      UserError: an option out of its range.

    Source: `truncate`.
    """
    check_temperature(temperature)
    if top_k < 0:
        raise UserError(f"top_k is {top_k}: give a number of tokens, or 0 for all")
    if not 0 < top_p <= 1:
        raise UserError(f"top_p is {top_p}: give a probability in (0, 1], 1 for all tokens")
    keys = example_keys(key, jnp.arange(num_rows(z)))

    def choose(logits: Array, step: Array) -> Array:
        logits = forbid(logits, allow_unk=allow_unk)
        logits = truncate(logits / temperature, top_k=top_k, top_p=top_p)
        now = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, step)
        return jax.vmap(jax.random.categorical)(now, logits).astype(jnp.int32)

    return _decode(decoder, params, z, context, choose, max_length)


def steps_of(decoder: Decoder) -> Steps:
    """Returns the steps of an autoregressive decoder.

    Raises:
      UserError: it has none.
    """
    if decoder.steps is None:
        raise UserError("this decoder is not autoregressive: it has no steps to decode by")
    return decoder.steps


def check_max_length(max_length: int) -> None:
    """Refuses sentences of no tokens."""
    if max_length < 1:
        raise UserError(f"max_length is {max_length}: give at least 1 token")


def check_temperature(temperature: float, prefix: str = "") -> None:
    """Refuses temperatures that are none, or by which float32 cannot divide logits.

    Args:
      temperature: of sampling.
      prefix: of the option's name in the message.

    Raises:
      UserError: names the option, its value and what is allowed.
    """
    least, most = TEMPERATURES
    if not temperature > 0:
        raise UserError(f"{prefix}temperature={temperature} must be above 0; greedy is its limit")
    if not least <= temperature <= most:
        raise UserError(
            f"{prefix}temperature={temperature} must be from {least:g} to {most:g}; below it "
            "decode greedily, above it all tokens are equally likely"
        )
