"""What a trained run is good for: sentences to vectors, and vectors to sentences."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jvae.batch import Batch
from jvae.data import encode_split
from jvae.data.batching import choose_buckets
from jvae.distributions.sets import VectorSet
from jvae.errors import UserError
from jvae.evaluation import corpus
from jvae.evaluation.programs import SplitBatches
from jvae.experiments.building import most_tokens
from jvae.experiments.setup import TrainedRun
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
from jvae.generation.decoding import num_rows
from jvae.layers.product import in_float32
from jvae.model import VAE, Decoder
from jvae.random import Stream, stream
from jvae.types import Array, Key, Params

BATCH_SIZE = 64
STEP = 8  # tokens: what sentences are encoded in is as wide as a multiple of it


class Decoding(NamedTuple):
    """How sentences are chosen.

    Attributes:
      strategy: "greedy", "sample" or "beam".
      max_length: tokens, `</s>` included.
      temperature, top_k, top_p: for "sample"; 0 and 1 leave top-k and top-p off.
      beam_size: for "beam".
      allow_unk: whether `<unk>` may be produced.
    """

    strategy: str = "greedy"
    max_length: int = 50
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    beam_size: int = 5
    allow_unk: bool = True


@lru_cache(maxsize=32)
def _decoder(decoder: Decoder, how: Decoding) -> Callable[[Params, Array, Key], Array]:
    """Tokens `[B, max_length]`; compiled once per model and way of decoding.

    Parameters are arguments, not constants. Of probabilities, which nobody asks for, XLA then
    leaves out what the choice of words does not need.
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


class Code(NamedTuple):
    """What stands for N sentences.

    Attributes:
      mean, log_var: of the posterior, see `jvae.evaluation.corpus.moments`.
      centre: what is decoded where nothing shall be random: the mean, or a set.
    """

    mean: Array
    log_var: Array
    centre: Any


class Latents(NamedTuple):
    """N latent values that are made some at a time: sets of many sentences are large.

    Attributes:
      number: N.
      at: number of one -> `[n, L]`, or n sets: it and those that follow, at least `BATCH_SIZE` or
        all.
    """

    number: int
    at: Callable[[int], Any]


@lru_cache(maxsize=32)
def _encoder(model: VAE) -> Callable[..., Code]:
    def encode(params: Params, batch: Batch, *, key: Key) -> Code:
        if model.refine is not None:  # its noise reaches the mean: equal sentences stay equal
            batch = batch.replace(index=jnp.zeros_like(batch.index))
        context = model.context(params, batch.condition, key=key, train=False)
        q = model.infer(params, batch, context, key=key, train=False).posterior
        return Code(*corpus.moments(q), q.mean)

    return jax.jit(in_float32(encode))


@lru_cache(maxsize=32)
def _drawer(model: VAE) -> Callable[..., Any]:
    return jax.jit(partial(corpus.prior_samples, model))


def decode(run: TrainedRun, z: Any, how: Decoding, *, key: Key) -> list[str]:
    """`z` `[N, L]`, or N sets, or `Latents` -> N sentences; one program serves all."""
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
        sentences += [run.tokenizer.decode(row.tolist()) for row in tokens]
    return sentences


def sample_prior(run: TrainedRun, number: int, how: Decoding, *, key: Key) -> list[str]:
    """`z ~ p(z)`, then a sentence each."""
    draw = partial(_drawer(run.model), run.params, key=key)
    z = Latents(number, lambda start: draw(np.arange(start, start + BATCH_SIZE)))
    return decode(run, z, how, key=key)


def encode(run: TrainedRun, sentences: Sequence[str], *, key: Key) -> Code:
    """Posterior means and log variances of each sentence, in their order.

    Raises:
      UserError: there is no latent, or no sentence.
    """
    if run.config.model.mode == "lm":
        raise UserError(f"{run.workdir} is a language model: it has no latent to encode into")
    if not sentences:
        raise UserError("no sentence was given")
    data = run.config.data
    split, _, rows = encode_split(
        run.tokenizer, sentences, max_length=data.max_length or None, too_long="truncate"
    )
    if len(rows) != len(sentences):
        empty = np.setdiff1d(np.arange(len(sentences)), rows)[0] + 1
        raise UserError(f"sentence {empty} is empty: give it at least one word")
    # Few shapes for all that is ever asked: each is compiled once in a process.
    longest = max(most_tokens(run.config), split.widths.max())
    rounded = np.minimum(-(-split.widths // STEP) * STEP, longest)
    buckets = choose_buckets(rounded, data.max_buckets)
    batches = SplitBatches(split, buckets.widths, BATCH_SIZE)
    compiled = partial(_encoder(run.model), run.params, key=key)
    return corpus.collect(compiled, batches, len(sentences))


def reconstruct(run: TrainedRun, sentences: Sequence[str], how: Decoding, *, key: Key) -> list[str]:
    """Each sentence decoded from the mean of its own posterior."""
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
    """Sentences along the way between the posterior means of two sentences, ends included.

    Args:
      run: trained.
      first: a sentence.
      second: another.
      steps: sentences in all.
      how: see `Decoding`.
      key: for sampling.
      path: "linear" or "spherical". Sets of vectors with weights have one way, `union`, and those
        without `aligned`.
    """
    return decode(run, ways(run, [first], [second], steps, key=key, path=path), how, key=key)


def ways(
    run: TrainedRun,
    starts: Sequence[str],
    ends: Sequence[str],
    steps: int,
    *,
    key: Key,
    path: str = "linear",
) -> Latents:
    """The `N * steps` latent values along N ways, one after the other.

    Args:
      run: trained.
      starts: N sentences.
      ends: N sentences.
      steps: points of each way, both ends included.
      key: of the encoder's noise, where it has any.
      path: see `interpolate`.
    """
    centre = encode(run, [*starts, *ends], key=key).centre
    way: Callable[..., Any] = {"linear": linear, "spherical": spherical}[path]
    if isinstance(centre, VectorSet):
        if path != "linear":
            raise UserError(
                f"{run.workdir} encodes into sets of vectors, which have no {path} path: between "
                "them there is one way; leave --path out"
            )
        way = union if run.config.model.attention == "denoising" else aligned
    way, number = partial(way, steps=steps), len(starts)
    first, second = (
        jax.tree.map(lambda leaf, rows=rows: leaf[rows], centre)
        for rows in (slice(number), slice(number, None))
    )
    jax.eval_shape(jax.vmap(way), first, second)  # too few steps are refused now, not when decoded

    def at(start: int) -> Any:
        some = slice(start // steps, (start + BATCH_SIZE - 1) // steps + 1)
        ends = (jax.tree.map(lambda leaf: leaf[some], end) for end in (first, second))

        def points(leaf: Array) -> np.ndarray:
            return np.asarray(leaf).reshape(-1, *leaf.shape[2:])[start % steps :]

        return jax.tree.map(points, jax.vmap(way)(*ends))

    return Latents(number * steps, at)


def arithmetic(
    run: TrainedRun, minus: tuple[str, str], plus: str, how: Decoding, *, key: Key
) -> str:
    """The sentence at `mean(a) - mean(b) + mean(c)`: what tells a from b, given to c.

    Args:
      run: trained.
      minus: a and b.
      plus: c.
      how: see `Decoding`.
      key: for sampling.
    """
    centre = encode(run, [*minus, plus], key=key).centre
    if isinstance(centre, VectorSet):
        raise UserError(f"{run.workdir} encodes into sets of vectors, which have no difference")
    a, b, c = centre
    return decode(run, np.asarray(a - b + c)[None], how, key=key)[0]
