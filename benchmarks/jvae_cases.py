"""What is timed of jvae: its own step, estimator and decoders, compiled as its experiments do.

The training step is the whole one (`make_step`, parallel mode "jit"), driven as the loop does.
What is run of it, and in what portions, is chosen for timing and differs from a command's:

- `epoch` is rounds of inner updates and one outer, without the stop rule and the pass that
  measures the mutual information;
- `iw` takes 2 sentences, whose chunks by `evaluation.memory_mb` are larger than those of
  evaluation's 8 (at V 6,000 250 samples, where evaluation takes 100);
- `greedy` and `beam` decode 1,000 and 100 sentences in one call, where commands take 64 at a time.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import jvae
from benchmarks import building
from benchmarks.building import chunk_size, make_model
from benchmarks.sizes import Size, random_tokens, random_weights, usual_start
from jvae.data.batching import choose_buckets, epoch_plan
from jvae.generation import beam_search, greedy
from jvae.remedies import InnerLoop
from jvae.training.steps import DeviceData, DevicePlan
from jvae.types import Array, Params

NUM_SENTENCES = 1024  # on the device, for the steps to draw from


class Training(building.Training):
    """A training run as `jvae.training.loop` drives it, over sentences on the device."""

    def __init__(
        self,
        size: Size,
        weights: dict,
        tokens: np.ndarray,
        lengths: np.ndarray,
        inner: InnerLoop | None,
        precision: str = "float32",
    ):
        widths = choose_buckets(lengths, 4).widths
        super().__init__(size, weights, widths, inner, precision)
        self.data = self.on_device(tokens, lengths)
        plan = epoch_plan(lengths, widths, size.batch_size, seed=0, epoch=0)
        self.plan = self.parallel.replicate(DevicePlan(*map(jnp.asarray, plan)))
        self.rows, self.row = len(plan.bucket), 0

    def on_device(self, tokens: np.ndarray, lengths: np.ndarray) -> DeviceData:
        """Puts sentences where the step reads them."""
        sentences = jvae.Tokens(jnp.asarray(tokens), jnp.asarray(lengths))
        return self.parallel.replicate(DeviceData(sentences))

    def run(self, steps: int = 1) -> None:
        """Makes so many updates of the decoder, and what inner ones belong to them."""
        for _ in range(steps):
            self.step(self.data, self.plan, jnp.int32(self.row))
            self.row = (self.row + 1) % self.rows
        jax.block_until_ready(self.state)


def inner_loop(updates: int) -> InnerLoop:
    """So many updates whatever the loss does: the stop rule's window never fills."""
    return InnerLoop(updates, updates + 1)


def joint(size: Size, steps: int, precision: str) -> Callable[[], None]:
    """Joint steps."""
    tokens, weights = random_tokens(size, NUM_SENTENCES, 0), usual_start(size)
    training = Training(size, weights, tokens, np.full(len(tokens), size.length), None, precision)
    return partial(training.run, steps)


def inner(size: Size, updates: int) -> Callable[[], None]:
    """One aggressive step: so many updates of the encoder, one of the decoder."""
    tokens = random_tokens(size, NUM_SENTENCES, 0)
    lengths = np.full(len(tokens), size.length)
    return Training(size, usual_start(size), tokens, lengths, inner_loop(updates)).run


def epoch(
    size: Size, tokens: np.ndarray, lengths: np.ndarray, steps: int, updates: int
) -> Callable[[], None]:
    """Several aggressive steps over sentences of many lengths: rounds, not an epoch.

    A round is so many updates of the encoder and one of the decoder. A real epoch has as many
    rounds as the corpus has batches, its inner loops end by the stop rule, and after it the mutual
    information is measured, which may end the phase.
    """
    training = Training(size, usual_start(size), tokens, lengths, inner_loop(updates))
    return partial(training.run, steps)


def iw(size: Size, sentences: int, samples: int) -> Callable[[], None]:
    """IW-NLL of so many sentences, in chunks of the memory that evaluation takes by default."""
    model = make_model(size, 0.0)
    params = jax.tree.map(jnp.asarray, random_weights(size, 0))
    batch = jvae.text_batch(random_tokens(size, sentences, 0))
    chunk = chunk_size(size, sentences)
    compiled = jax.jit(
        partial(jvae.iw_log_likelihood, model, num_samples=samples, chunk_size=chunk)
    )
    key = jax.random.key(0)
    return lambda: jax.block_until_ready(compiled(params, batch, key=key))


def greedy_decoding(size: Size, sentences: int) -> Callable[[], None]:
    """Greedy sentences from the prior, all in one call."""
    decoder = make_model(size, 0.0).decoder
    params = jax.tree.map(jnp.asarray, random_weights(size, 0)["decoder"])
    z = jax.random.normal(jax.random.key(0), (sentences, size.latent_size))

    @jax.jit
    def words(params: Params, z: Array) -> Array:
        # As jvae's commands do, and PyTorch's form: nobody asks for the probabilities.
        return greedy(decoder, params, z, max_length=size.length).tokens

    return lambda: jax.block_until_ready(words(params, z))


def beam(size: Size, sentences: int, width: int) -> Callable[[], None]:
    """Beam search from the prior, all sentences in one call."""
    decoder = make_model(size, 0.0).decoder
    params = jax.tree.map(jnp.asarray, random_weights(size, 0)["decoder"])
    z = jax.random.normal(jax.random.key(0), (sentences, size.latent_size))
    compiled = jax.jit(partial(beam_search, decoder, max_length=size.length, beam_size=width))
    return lambda: jax.block_until_ready(compiled(params, z))
