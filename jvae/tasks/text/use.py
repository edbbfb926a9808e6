"""Uses of a trained text model: sentences to vectors, and vectors to sentences."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jvae.batch import Batch
from jvae.configs import check_name
from jvae.data import Split, Tokenizer, encode_split
from jvae.data.batching import choose_buckets
from jvae.distributions.sets import VectorSet
from jvae.errors import UserError
from jvae.evaluation import corpus
from jvae.evaluation.functions import SplitBatches
from jvae.generation import (
    Generated,
    aligned,
    beam_search,
    greedy,
    linear,
    sample,
    spherical,
    union,
)
from jvae.generation.decoding import check_temperature, num_rows
from jvae.layers.product import in_float32
from jvae.model import VAE, Decoder
from jvae.posteriors import TokenFamily
from jvae.random import Stream, stream
from jvae.runs.directory import TrainedRun
from jvae.tasks.text.limits import longest_decoded, most_tokens
from jvae.tasks.text.model import make_shared
from jvae.types import Array, Key, Params

BATCH_SIZE = 64
STEP = 8  # tokens: sentences are padded to a multiple of it
STRATEGIES = ("greedy", "sample", "beam")
PATHS: dict[str, Callable[..., Any]] = {"linear": linear, "spherical": spherical}


class Decoding(NamedTuple):
    """The choice of words.

    Attributes:
      strategy: one of `STRATEGIES`.
      max_length: tokens, `</s>` included; None for those of the longest training sentence.
      temperature: for "sample", above 0; greedy is its limit.
      top_k: for "sample", the likeliest words that are left; 0 for all.
      top_p: for "sample", their least probability together, above 0; 1 for all.
      beam_size: for "beam".
      allow_unk: whether `<unk>` may be produced.
    """

    strategy: str = "greedy"
    max_length: int | None = None
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    beam_size: int = 5
    allow_unk: bool = False


class Encoding(NamedTuple):
    """The posteriors of N sentences.

    Attributes:
      mean: `[N, L]`, see `jvae.evaluation.corpus.moments`.
      log_var: `[N, L]`, see there.
      centre: what is decoded where nothing shall be random: the mean, or a set.
    """

    mean: np.ndarray
    log_var: np.ndarray
    centre: Any


class Latents(NamedTuple):
    """N latent values that are made some at a time: sets of many sentences are large.

    Attributes:
      number: N.
      at: number of one -> `[n, L]`, or n sets: it and those that follow, at least as many as are
        decoded at once, or all.
    """

    number: int
    at: Callable[[int], Any]


def check_decoding(how: Decoding, prefix: str = "") -> Decoding:
    """Returns `how`, whose values make sense.

    Args:
      how: words are chosen.
      prefix: of the options' names in messages, "--" on the command line.

    Raises:
      UserError: names the option, its value and what is allowed.
    """
    check_name(f"{prefix}strategy", how.strategy, STRATEGIES)
    check_temperature(how.temperature, prefix)
    if not 0 < how.top_p <= 1:
        name = "--top-p" if prefix else "top_p"
        raise UserError(f"{name}={how.top_p} must be above 0 and at most 1")
    return how


@lru_cache(maxsize=32)
def _decoder(decoder: Decoder, how: Decoding) -> Callable[[Params, Array, Key], Array]:
    """Compiles the decoding of tokens `[B, max_length]`, once for each model and `how`.

    Parameters are arguments, not constants. XLA leaves out what the choice of words does not need
    of the probabilities, for which nobody asks.
    """
    common: dict[str, Any] = {"max_length": how.max_length, "allow_unk": how.allow_unk}
    strategies: dict[str, Callable[[Params, Array, Key], Generated]] = {
        "greedy": lambda params, z, key: greedy(decoder, params, z, **common),
        "sample": lambda params, z, key: sample(
            decoder,
            params,
            z,
            key=key,
            temperature=how.temperature,
            top_k=how.top_k,
            top_p=how.top_p,
            **common,
        ),
        "beam": lambda params, z, key: beam_search(
            decoder, params, z, beam_size=how.beam_size, **common
        ),
    }
    strategy = strategies[how.strategy]

    def words(params: Params, z: Array, key: Key) -> Array:
        return strategy(params, z, key).tokens

    return jax.jit(in_float32(words))


@lru_cache(maxsize=32)
def _encoder(model: VAE) -> Callable[..., Encoding]:
    def encode(params: Params, batch: Batch, *, key: Key) -> Any:
        if model.refine is not None:  # its noise reaches the mean: equal sentences stay equal
            batch = batch.replace(index=jnp.zeros_like(batch.index))
        context = model.context(params, batch.condition, key=key, train=False)
        q = model.infer(params, batch, context, key=key, train=False).posterior
        mean, log_var = corpus.moments(q)
        return mean, log_var, q.mean

    return jax.jit(in_float32(encode))


@lru_cache(maxsize=32)
def _prior_sampler(model: VAE) -> Callable[..., Any]:
    return jax.jit(partial(corpus.prior_samples, model))


def decode(run: TrainedRun, z: Any, how: Decoding, *, key: Key) -> list[str]:
    """Decodes `z`, `[N, L]`, or N sets, or `Latents`, into N sentences.

    One compiled function serves all N.
    """
    how = how._replace(max_length=how.max_length or longest_decoded(run.config, run.width))
    decoder, params = _decoder(run.model.decoder, how), run.params["decoder"]
    if not isinstance(z, Latents):
        held = jax.tree.map(np.asarray, z)
        z = Latents(num_rows(z), lambda start: jax.tree.map(lambda leaf: leaf[start:], held))
    sentences: list[str] = []

    def filled(leaf: Any) -> Array:
        rows = np.asarray(leaf[:BATCH_SIZE], np.float32)
        return jnp.asarray(np.pad(rows, [(0, BATCH_SIZE - len(rows))] + [(0, 0)] * (rows.ndim - 1)))

    for start in range(0, z.number, BATCH_SIZE):
        some = jax.tree.map(filled, z.at(start))
        tokens = np.asarray(decoder(params, some, stream(key, Stream.GENERATION, start)))
        tokens = tokens[: z.number - start]
        sentences += [run.resources.decode(row.tolist()) for row in tokens]
    return sentences


def sample_prior(run: TrainedRun, number: int, how: Decoding, *, key: Key) -> list[str]:
    """Draws `z ~ p(z)`, and decodes a sentence of each."""
    draw = partial(_prior_sampler(run.model), run.params, key=key)
    z = Latents(number, lambda start: draw(np.arange(start, start + BATCH_SIZE)))
    return decode(run, z, how, key=key)


def read(run: TrainedRun, sentences: Sequence[str]) -> Split:
    """Encodes sentences as tokens, cut as in training.

    Raises:
      UserError: there is no sentence, or one is empty.
    """
    if not sentences:
        raise UserError("no sentence was given")
    tokenizer: Tokenizer = run.resources
    longest = run.config.data.max_length or None
    split, _, rows = encode_split(tokenizer, sentences, max_length=longest, too_long="truncate")
    if len(rows) != len(sentences):
        empty = np.setdiff1d(np.arange(len(sentences)), rows)[0] + 1
        raise UserError(f"sentence {empty} is empty: give it at least one word")
    return split


def encodes_sets(run: TrainedRun) -> bool:
    """Tells whether the latent of a sentence is a set of vectors."""
    return isinstance(make_shared(run.config, 1).family, TokenFamily)


def padded(run: TrainedRun, split: Split, batch_size: int = BATCH_SIZE) -> SplitBatches:
    """Cuts sentences into batches of few shapes: each is compiled once in a process."""
    longest = max(most_tokens(run.config), split.widths.max())
    rounded = np.minimum(-(-split.widths // STEP) * STEP, longest)
    buckets = choose_buckets(rounded, run.config.data.max_buckets)
    return SplitBatches(split, buckets.widths, batch_size)


def encode(run: TrainedRun, sentences: Sequence[str], *, key: Key) -> Encoding:
    """Encodes each sentence, in their order.

    Raises:
      UserError: there is no latent, or no sentence.
    """
    if run.config.model.mode == "lm":
        raise UserError(f"{run.workdir} is a language model: it has no latent to encode into")
    split = read(run, sentences)
    compiled = partial(_encoder(run.model), run.params, key=key)
    return Encoding(*corpus.collect(compiled, padded(run, split), len(sentences)))


def reconstruct(run: TrainedRun, sentences: Sequence[str], how: Decoding, *, key: Key) -> list[str]:
    """Decodes each sentence from the mean of its own posterior."""
    return decode(run, encode(run, sentences, key=key).centre, how, key=key)


def interpolate(
    run: TrainedRun,
    first: str,
    second: str,
    steps: int,
    how: Decoding,
    *,
    key: Key,
    path: str = "linear",
) -> list[str]:
    """Decodes a path between the posterior means of two sentences, ends included.

    Args:
      run: trained.
      first: a sentence.
      second: another.
      steps: sentences in all.
      how: words are chosen.
      key: for sampling.
      path: a key of `PATHS`, see `paths`.
    """
    return decode(run, paths(run, [first], [second], steps, key=key, path=path), how, key=key)


def paths(
    run: TrainedRun,
    starts: Sequence[str],
    ends: Sequence[str],
    steps: int,
    *,
    key: Key,
    path: str = "linear",
    at_once: int = BATCH_SIZE,
) -> Latents:
    """Computes the `N * steps` latent values along N paths, one path after the other.

    Args:
      run: trained.
      starts: N sentences.
      ends: N sentences.
      steps: points of each path, both ends included.
      key: of the encoder's noise, where it has any.
      path: a key of `PATHS`. Between sets of vectors there is one path: `union` where the decoder
        reads their weights, else `aligned`.
      at_once: values that are made at least.

    Raises:
      UserError: sets have no such path, or there are fewer than two steps.
    """
    check_name("path", path, PATHS)
    centre, between = encode(run, [*starts, *ends], key=key).centre, PATHS[path]
    if isinstance(centre, VectorSet):
        if path != "linear":
            raise UserError(
                f"{run.workdir} encodes into sets of vectors, which have no {path} path: between "
                "them there is one path of their own; leave the path out"
            )
        weighted = run.config.model.transformer.attention == "denoising"
        between = union if weighted else aligned
    number = len(starts)
    first, second = (
        jax.tree.map(lambda leaf, rows=rows: leaf[rows], centre)
        for rows in (slice(number), slice(number, None))
    )
    points_of = jax.vmap(partial(between, steps=steps))
    jax.eval_shape(points_of, first, second)  # too few steps are refused now, not when decoded

    def at(start: int) -> Any:
        some = slice(start // steps, (start + at_once - 1) // steps + 1)
        ends = (jax.tree.map(lambda leaf: leaf[some], end) for end in (first, second))

        def points(leaf: Array) -> np.ndarray:
            return np.asarray(leaf).reshape(-1, *leaf.shape[2:])[start % steps :]

        return jax.tree.map(points, points_of(*ends))

    return Latents(number * steps, at)


def arithmetic(
    run: TrainedRun, minus: tuple[str, str], plus: str, how: Decoding, *, key: Key
) -> str:
    """Decodes `mean(a) - mean(b) + mean(c)`: what tells a from b, given to c.

    Args:
      run: trained.
      minus: a and b.
      plus: c.
      how: words are chosen.
      key: for sampling.

    Raises:
      UserError: the latents are sets.
    """
    return decode(run, shifted(run, minus, plus, key=key), how, key=key)[0]


def shifted(run: TrainedRun, minus: tuple[str, str], plus: str, *, key: Key) -> np.ndarray:
    """Computes `mean(a) - mean(b) + mean(c)`, `[1, L]`, see `arithmetic`."""
    centre = encode(run, [*minus, plus], key=key).centre
    if isinstance(centre, VectorSet):
        raise UserError(f"{run.workdir} encodes into sets of vectors, which have no difference")
    a, b, c = centre
    return np.asarray(a - b + c)[None]
