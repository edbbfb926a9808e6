"""The text VAE that a configuration describes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jvae.batch import Batch, text_batch
from jvae.components import build, options_of
from jvae.data import Tokenizer
from jvae.encoders import no_encoder
from jvae.errors import UserError
from jvae.model import VAE, Encoder
from jvae.posteriors import DIAGONAL, Family, NVIBOptions, TokenFamily
from jvae.runs.task import Data, Phase
from jvae.tasks.text.config import MODEL, OBJECTIVE
from jvae.tasks.text.limits import most_tokens
from jvae.types import DType, Params


@dataclasses.dataclass(frozen=True)
class TextShared:
    """Values that all components of a text model are offered.

    Attributes:
      vocab_size: V.
      latent_size: L; 0 of a language model.
      embed_size: E.
      hidden_size: H.
      dropout_in: on embeddings.
      dropout_out: before the output layer.
      word_dropout: share of the decoder's input words that become `<unk>`.
      skip: whether z also reaches the output layer.
      denoise_rate: share of the words that denoising damages.
      init_scale: of initial weights.
      embed_init_scale: of initial embeddings.
      dtype: of the products' factors; None for the parameters' own.
      point: whether posteriors are point masses, those of an autoencoder.
      max_count: most vectors of a set, one for each token.
      nvib: options of NVIB, which its prior and an encoder's NVIB layers read, too.
      family: of posteriors.
      encoder: of the model, for priors that are made with it; None until it is built.
    """

    vocab_size: int
    latent_size: int
    embed_size: int
    hidden_size: int
    dropout_in: float
    dropout_out: float
    word_dropout: float
    skip: bool
    denoise_rate: float
    init_scale: float
    embed_init_scale: float
    dtype: DType
    point: bool
    max_count: int
    nvib: NVIBOptions
    family: Family | TokenFamily = DIAGONAL
    encoder: Encoder | None = None


def make_shared(config: Any, vocab_size: int, dtype: DType = None) -> TextShared:
    """Collects what components share, with the family of posteriors."""
    options = config.model
    plain = {field.name: options[field.name] for field in dataclasses.fields(MODEL.options)}
    if options.mode == "lm":
        plain["latent_size"] = 0
    shared = TextShared(
        vocab_size=vocab_size,
        dtype=dtype,
        point=options.mode == "ae",
        max_count=most_tokens(config),
        nvib=options_of(MODEL, "nvib", NVIBOptions, config),
        **plain,
    )
    return dataclasses.replace(shared, family=build(MODEL, "posterior", config, shared))


def make_model(config: Any, vocab_size: int, dtype: DType = None) -> VAE:
    """Builds the model that `config.model` describes.

    Args:
      config: all of it.
      vocab_size: V.
      dtype: of the products' factors (`jvae.training.settings.PRECISIONS`); training's alone may
        be rounded.
    """
    shared = make_shared(config, vocab_size, dtype)
    is_lm = config.model.mode == "lm"
    encoder = no_encoder() if is_lm else build(MODEL, "encoder", config, shared)
    for field in ("denoise", "posterior_map"):
        encoder = build(MODEL, field, config, shared)(encoder)
    decoder = build(MODEL, "decoder", config, shared)
    shared = dataclasses.replace(shared, encoder=encoder)
    model = VAE(encoder, decoder, build(MODEL, "prior", config, shared))
    refined: VAE = build(MODEL, "refine", config, shared)(model)
    return refined


def build_model(config: Any, tokenizer: Tokenizer, dtype: DType) -> VAE:
    """Builds the model, see `jvae.runs.task.Task.build`."""
    return make_model(config, tokenizer.vocab_size, dtype)


def example_batch(config: Any = None, tokenizer: Tokenizer | None = None) -> Batch:
    """Makes the smallest batch, for the shapes of parameters."""
    del config, tokenizer
    return text_batch(jnp.zeros((1, 2), jnp.int32), jnp.ones(1, jnp.int32))


def counts_vectors(config: Any) -> bool:
    """Returns True where the prior counts the vectors of a set."""
    return config.model.mode == "vae" and isinstance(make_shared(config, 1).family, TokenFamily)


def check_data(config: Any, data: Data) -> None:
    """Refuses a vocabulary that cannot be cut, and sentences of more tokens than are counted.

    Raises:
      UserError: says which field to change.
    """
    shards, size = config.training.model_shards, data.resources.vocab_size
    if size % shards:
        raise UserError(
            f"training.model_shards = {shards} does not divide the vocabulary of {size} tokens: "
            f"choose a divisor, or begin a run with data.max_size = {size - size % shards}"
        )
    longest = data.buckets.widths[-1]
    if counts_vectors(config) and not config.data.max_length and longest > most_tokens(config):
        most = config.model.transformer.max_positions
        raise UserError(
            f"model.transformer.max_positions = {most} must be at least {longest}, the tokens of "
            "the longest sentence: the prior counts a sentence's vectors; raise it, or set "
            "data.max_length"
        )


def start(config: Any, model: VAE, params: Params, data: Data) -> Params:
    """Fits a prior of sets to the training sentences, as if no vector were deleted.

    It would learn the probabilities of many numbers slowly.
    """
    family = make_shared(config, 1).family
    if model.prior.fit is None or not isinstance(family, TokenFamily) or not counts_vectors(config):
        return params
    counts = np.bincount(family.count(np.asarray(data.splits["train"].x.lengths)))
    padding = len(params["prior"]["logits"]) - len(counts)
    return params | {"prior": model.prior.fit(params["prior"], np.pad(counts, (0, padding)))}


def decoder_states(config: Any, width: int) -> int:
    """Returns the floats that a Transformer holds at once of a sentence and a sample of z; else 0.

    One block has four arrays of its width, and both sides of its wide layer or the attention's
    weights; a set has keys, values and vectors.

    Args:
      config: all of it.
      width: tokens.
    """
    model, stack = config.model, config.model.transformer
    if model.decoder != "transformer":
        return 0
    vectors = (width + 1) * (model.nvib.kappa if model.posterior == "nvib" else 1)
    wide = max(stack.feed_forward or 4 * model.hidden_size, stack.heads * vectors)
    of_set = vectors * (model.hidden_size + model.latent_size)
    return int(2 * width * (wide + 2 * model.hidden_size) + 2 * of_set)


def phases(config: Any) -> Sequence[Phase]:
    """Returns the autoencoder that comes first, if any: KL weight 0, z drawn, no other objective.

    Only its encoder is kept: the decoder and the optimisers start afresh (Li et al., 2019, whose
    released scripts are `text_beta.py --beta 0`, then `text_anneal_fb.py --reset_dec`). Runs that
    differ in their second phase only have the same first one.
    """
    epochs = config.training.pretrain_epochs
    if not epochs:
        return ()
    first = config.copy_and_resolve_references()
    first.objective.update(OBJECTIVE.fields())
    first.objective.update({"kl_schedule": "constant", "kl_end": 0.0})
    if first.model.prior != "uniform_sphere":
        first.model.prior = "standard_normal"  # without a KL no prior learns
    first.model.refine = ""  # its steps raise the ELBO, KL and all
    # Another seed, so that no key is used twice in one run.
    seed = np.random.SeedSequence(config.training.seed, spawn_key=(1,)).generate_state(1)[0]
    first.training.update(
        {
            "seed": int(seed) >> 1,  # of 31 bits
            "epochs": epochs,
            "pretrain_epochs": 0,
            "start_from": "",
            "aggressive": False,
            "profile": 0,
        }
    )
    about = f"an autoencoder for at most {epochs} epochs"
    done = "the encoder of epoch {epoch} is kept, the decoder starts afresh"
    return (Phase("pretraining", first, ("encoder",), about, done),)


# Fields that give parameters their meaning without showing in their shapes.
SAME = (
    "model.encoder",
    "model.decoder",
    "model.posterior",
    "model.cnn.size",
    "model.skip",
    "model.transformer.heads",
    "model.transformer.norm",
    "model.transformer.positions",
    "model.transformer.pooling",
    "model.transformer.attention",
)
