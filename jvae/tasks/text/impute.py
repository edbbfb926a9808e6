"""Filling of a sentence's blanks by a trained text model."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jvae.batch import BOS, EOS, PAD, UNK, Batch, text_batch
from jvae.data import Tokenizer
from jvae.errors import UserError
from jvae.evaluation import corpus
from jvae.generation import Filled, fill_blanks
from jvae.layers.product import in_float32
from jvae.model import VAE
from jvae.random import Stream, stream
from jvae.runs.directory import TrainedRun
from jvae.tasks.text.likelihood import estimator, refuse_autoencoder, samples_at_once
from jvae.tasks.text.limits import most_tokens
from jvae.tasks.text.model import counts_vectors
from jvae.types import Array, Key, Params

BLANK = "_"


class Search(NamedTuple):
    """The extent of a search for fillings.

    Attributes:
      draws: samples of z in each round.
      beam_size: fillings that each of them proposes.
      rounds: at most; the search ends when the best filling stays the best.
      num_samples: importance samples that a filling is weighed with.
    """

    draws: int = 8
    beam_size: int = 5
    rounds: int = 5
    num_samples: int = 100


class Fillings(NamedTuple):
    """The fillings of one sentence, the likeliest first.

    Attributes:
      sentences: in full.
      log_prob: `[F]`, the estimates of `log p(sentence)`, nats.
    """

    sentences: list[str]
    log_prob: np.ndarray

    @property
    def share(self) -> np.ndarray:
        """Returns `p(filling | the rest)` if no other fillings existed, `[F]`."""
        return np.exp(self.log_prob - np.logaddexp.reduce(self.log_prob))


def impute(
    run: TrainedRun, sentences: Sequence[str], search: Search, *, key: Key
) -> list[Fillings]:
    """Fills words u into the blanks by `p(u | rest)`, in proportion to `p(x) = p(u, rest)`.

    A round draws z from the posterior of the sentence as filled so far (at first `<unk>` stands
    in the blanks), and each z proposes the fillings of greatest `p(x | z)` (`fill_blanks`). New
    ones are weighed by the importance-weighted estimate of `log p(x)`, z integrated out with the
    posterior of the filled sentence itself as proposal. The best of all so far starts the next
    round, until it stays the best: the estimate of the answer never falls.

    Without a latent (a language model) this is beam search with the known words forced.

    Args:
      run: trained.
      sentences: with `_` for each missing word (for a missing character with the tokenizer chars).
      search: see `Search`.
      key: of all draws. A sentence's fillings do not depend on the other sentences.

    Raises:
      UserError: a sentence without a blank, a tokenizer without words, an autoencoder; of sets, a
        sentence of more tokens than the prior counts.
    """
    refuse_autoencoder(run)
    rows = [_pieces(run.resources, text, line) for line, text in enumerate(sentences, start=1)]
    if counts_vectors(run.config):
        _check_lengths(rows, most_tokens(run.config))
    if run.config.model.mode == "lm":  # every draw is the same, and one sample is exact
        search = search._replace(draws=1, num_samples=1)
    # One width, hence one compiled function each, for all of them.
    width = max(len(pieces) for pieces in rows) + 1
    return [_impute(run, pieces, width, search, key) for pieces in rows]


def _pieces(tokenizer: Tokenizer, sentence: str, line: int) -> list[str]:
    if tokenizer.kind == "bpe":
        raise UserError("the run's tokenizer is bpe: blanks need one of words or characters")
    pieces = sentence.split() if tokenizer.kind == "words" else list(sentence)
    if BLANK not in pieces:
        alone = ", apart from other words" if tokenizer.kind == "words" else ""
        raise UserError(f"sentence {line} has no blank: put {BLANK} for what is missing{alone}")
    return pieces


def _check_lengths(rows: list[list[str]], most: int) -> None:
    """Refuses sentences of more vectors than the prior counts: every filling has probability 0."""
    for line, pieces in enumerate(rows, start=1):
        if len(pieces) + 1 > most:
            raise UserError(
                f"sentence {line} has {len(pieces)} tokens: the run's prior counts the vectors of "
                f"at most {most - 1}; shorten it, or train with a larger data.max_length (if "
                "that is 0, model.transformer.max_positions)"
            )


def _impute(run: TrainedRun, pieces: list[str], width: int, search: Search, key: Key) -> Fillings:
    tokenizer: Tokenizer = run.resources
    blank = np.zeros(width, bool)
    blank[: len(pieces)] = [piece == BLANK for piece in pieces]
    best = np.full(width + 1, PAD, np.int32)
    ids = tokenizer.encode(_joined(tokenizer, pieces))
    best[: len(ids) + 2] = [BOS, *ids, EOS]
    best[1:][blank] = UNK  # also where the vocabulary has an entry for the sign of a blank
    size = search.draws * search.beam_size
    chunk = min(samples_at_once(run, size, width), search.num_samples)
    propose = _proposer(run.model, search.beam_size)
    weigh = estimator(run.model, search.num_samples, chunk)

    log_prob: dict[tuple[int, ...], float] = {}
    for number in range(search.rounds):
        draw_key = stream(key, Stream.GENERATION, number)
        filled = propose(run.params, _batch([best], search.draws), blank, draw_key)
        proposed = np.asarray(filled.tokens).reshape(size, -1)[np.isfinite(filled.log_prob).ravel()]
        new = [row for row in np.unique(proposed, axis=0) if tuple(row) not in log_prob]
        if new:
            # Fillings share their noise, so that they differ by their words only.
            rows = _batch(new, size).replace(index=jnp.zeros(size, jnp.int32))
            values = np.asarray(weigh(run.params, rows, key=key)).tolist()
            log_prob |= dict(zip(map(tuple, new), values, strict=False))
        if not log_prob:
            raise UserError("no word of the vocabulary fits a blank: it holds special tokens only")
        before, best = best, np.array(max(log_prob, key=log_prob.__getitem__), np.int32)
        if np.array_equal(best, before):
            break
    ordered = sorted(log_prob, key=log_prob.__getitem__, reverse=True)
    return Fillings(
        [_text(tokenizer, pieces, row) for row in ordered],
        np.array([log_prob[row] for row in ordered]),
    )


def _batch(rows: Sequence[np.ndarray], size: int) -> Batch:
    """Makes `size` rows, the last repeated, each with noise of its own."""
    tokens = np.stack([*rows, *[rows[-1]] * (size - len(rows))])
    lengths = (tokens[:, 1:] != PAD).sum(axis=1)
    return text_batch(tokens, lengths)


@lru_cache(maxsize=8)
def _proposer(model: VAE, beam_size: int) -> Callable[..., Filled]:
    """Compiles the proposal of fillings."""

    def propose(params: Params, batch: Batch, blank: Array, key: Key) -> Filled:
        z = corpus.encode(model, params, batch, key=key).z
        blank = jnp.broadcast_to(blank, batch.x.targets.shape)
        return fill_blanks(model.decoder, params["decoder"], z, batch.x, blank, beam_size=beam_size)

    return jax.jit(in_float32(propose))


def _text(tokenizer: Tokenizer, pieces: list[str], row: Sequence[int]) -> str:
    """Writes the sentence as it was given, words unknown to the vocabulary included."""
    filled = [
        tokenizer.vocabulary[number] if piece == BLANK else piece
        for piece, number in zip(pieces, row[1:], strict=False)
    ]
    return _joined(tokenizer, filled)


def _joined(tokenizer: Tokenizer, pieces: list[str]) -> str:
    return (" " if tokenizer.kind == "words" else "").join(pieces)
