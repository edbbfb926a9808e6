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
from benchmarks.sizes import (
    TF_HEADS,
    TF_LAYERS,
    Size,
    random_tokens,
    random_weights,
    usual_start,
)
from jvae.data.batching import choose_buckets, epoch_plan
from jvae.decoders import DECODERS
from jvae.encoders import ENCODERS
from jvae.evaluation.corpus import samples_per_chunk
from jvae.experiments.config import PRECISIONS, default_config
from jvae.experiments.memory import decoder_states
from jvae.generation import beam_search, greedy
from jvae.remedies import InnerLoop
from jvae.training.optimisers import OPTIMISERS
from jvae.training.parallel import MODES
from jvae.training.state import TrainState, create_state
from jvae.training.steps import DeviceCorpus, DevicePlan, StepSettings, make_step
from jvae.types import Array, Params

KL_WEIGHT = {"kl_weight": np.float32(1)}
NUM_SENTENCES = 1024  # on the device, for the steps to draw from


def make_model(size: Size, dropout: float, precision: str = "float32") -> jvae.VAE:
    """The VAE of this size."""
    sizes = {
        "vocab_size": size.vocab_size,
        "latent_size": size.latent_size,
        "embed_size": size.embed_size,
        "hidden_size": size.hidden_size,
        "dtype": PRECISIONS[precision],
    }
    noise = {"dropout_in": dropout, "dropout_out": dropout}
    blocks = {"layers": TF_LAYERS, "heads": TF_HEADS, **noise}
    of_encoder, of_decoder = (blocks, blocks) if size.decoder == "transformer" else ({}, noise)
    return jvae.VAE(
        encoder=ENCODERS[size.encoder](**sizes, **of_encoder),
        decoder=DECODERS[size.decoder](**sizes, **of_decoder),
        prior=jvae.standard_normal(latent_size=size.latent_size),
        latent_size=size.latent_size,
    )


def as_batch(tokens: np.ndarray) -> jvae.Batch:
    """Full rows of one length."""
    rows, width = tokens.shape
    return jvae.Batch(
        jnp.asarray(tokens), jnp.full(rows, width - 1), jnp.arange(rows), jnp.ones(rows)
    )


class Training:
    """A training step and its state, as `jvae.training.loop` drives them."""

    def __init__(
        self,
        size: Size,
        weights: dict,
        tokens: np.ndarray,
        lengths: np.ndarray,
        inner: InnerLoop | None,
        precision: str = "float32",
    ):
        parallel = MODES["jit"](jax.local_devices()[:1], 1)
        optimiser, inner_optimiser = (OPTIMISERS["sgd"](size.learning_rate) for _ in range(2))
        buckets = choose_buckets(lengths, 4)
        step = make_step(
            make_model(size, size.dropout, precision),
            jvae.negative_elbo,
            optimiser,
            inner_optimiser,
            StepSettings(widths=buckets.widths, inner=inner),
            parallel.sharding,
        )
        params = jax.tree.map(jnp.asarray, weights)
        state = create_state(params, optimiser, inner_optimiser, aggressive=inner is not None)
        self.state: TrainState = parallel.place_state(state)
        self.step = parallel.compile(step)
        self.key = parallel.replicate(jax.random.key(0))
        self.corpus = parallel.replicate(DeviceCorpus(jnp.asarray(tokens), jnp.asarray(lengths)))
        plan = epoch_plan(lengths, buckets.widths, size.batch_size, seed=0, epoch=0)
        self.plan = parallel.replicate(DevicePlan(*map(jnp.asarray, plan)))
        self.rows, self.row = len(plan.bucket), 0

    def run(self, steps: int = 1) -> None:
        """So many updates of the decoder, and what inner ones belong to them."""
        for _ in range(steps):
            self.state = self.step(
                self.state, self.key, self.corpus, self.plan, jnp.int32(self.row), KL_WEIGHT
            )
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
    batch = as_batch(random_tokens(size, sentences, 0))
    config = default_config()
    config.model.update(decoder=size.decoder, hidden_size=size.hidden_size, heads=TF_HEADS)
    states = decoder_states(config, size.length)
    memory_bytes = config.evaluation.memory_mb * 2**20
    chunk = samples_per_chunk(memory_bytes, sentences, size.vocab_size, states)
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
