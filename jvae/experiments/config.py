"""The configuration of a run, and its way into the library's plain values."""

import difflib
from typing import Any

import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from jvae.data import CORPORA, TOKENIZERS
from jvae.decoders import CNN_SIZES, DECODERS
from jvae.encoders import ENCODERS
from jvae.errors import UserError
from jvae.objectives import Loss
from jvae.priors import PRIORS
from jvae.remedies import (
    KL_SCHEDULES,
    NOISES,
    InnerLoop,
    bag_of_words_loss,
    with_bag_of_words,
    with_denoising,
)
from jvae.training.control import ControlSettings
from jvae.training.optimisers import OPTIMISERS
from jvae.training.parallel import MODES
from jvae.types import DType, Schedule
from jvae.vae import VAE

# What may differ when a run is resumed: how long, where and how it is shown, not what it computes.
FREE_FIELDS = (
    "data.dir",
    "data.stream",
    "data.train",  # where the sentences lie; that they are the same is told by their fingerprint
    "data.valid",
    "data.test",
    "training.epochs",
    "training.num_devices",
    "training.vocab_shards",
    "training.coordinator",
    "training.num_processes",
    "training.process_id",
    "training.parallel",
    "training.memory_gb",
    "training.log_seconds",
    "training.profile",
    "evaluation.batch_size",
    "evaluation.iw_samples",
    "evaluation.iw_tolerance",
    "evaluation.iw_batch_size",
    "evaluation.iw_sentences",
    "evaluation.memory_mb",
    "evaluation.num_examples",
)
MODES_OF_MODEL = ("vae", "ae", "lm")
PRECISIONS: dict[str, DType] = {"float32": None, "bfloat16": jnp.bfloat16}


def default_config() -> ConfigDict:
    """Every field with its default: the recipe of He et al. (2019) without aggressive training.

    An experiment's `get_config` changes what differs. 0 and "" stand for "none" or "all".
    """
    config = ConfigDict()
    config.data = ConfigDict(
        {
            "name": "chitchat",  # a key of jvae.data.CORPORA
            "dir": "",  # local files of the corpus, where it has any
            "train": "",  # corpus "text": files of sentences
            "valid": "",
            "test": "",
            "seed": 0,  # corpus "text": split of a single file; "synthetic": generator
            "label": False,  # corpus "text": label<TAB>sentence
            "column": "",  # corpus "text": column of a .csv, .tsv or .jsonl
            "label_column": "",
            "tokenizer": "words",  # words, chars or bpe
            "min_count": 1,  # rarer words become <unk>
            "max_size": 0,  # vocabulary size, special tokens included
            "max_length": 0,  # words of a sentence
            "too_long": "truncate",  # or drop
            "max_buckets": 4,  # padded lengths, hence compiled shapes
            "stream": False,  # training sentences stay on disk, and go to the device step by step
        }
    )
    config.model = ConfigDict(
        {
            "mode": "vae",  # vae; ae: no noise, no KL; lm: no latent
            "encoder": "lstm",
            "decoder": "lstm",
            "prior": "standard_normal",
            "latent_size": 32,
            "embed_size": 512,
            "hidden_size": 1024,
            "dropout_in": 0.5,
            "dropout_out": 0.5,
            "word_dropout": 0.0,
            "cnn_size": "S",  # decoder "cnn": S, M, L or VL
            "skip": False,  # decoder "lstm": z also reaches the output layer directly
            "denoise": "",  # what the encoder reads in training: drop, swap or mask words
            "denoise_rate": 0.3,
            "init_scale": 0.01,
            "embed_init_scale": 0.1,
        }
    )
    config.objective = ConfigDict(
        {
            "kl_schedule": "linear",  # constant, linear, logistic, cyclical
            "kl_start": 0.1,  # linear, cyclical
            "kl_end": 1.0,  # all: the last weight; with constant this is beta
            "kl_epochs": 10.0,  # linear: the ramp; logistic: the midpoint; cyclical: a cycle
            "kl_cycles": 4,  # cyclical
            "kl_ramp": 0.5,  # cyclical: share of a cycle spent rising
            "kl_steepness": 0.0025,  # logistic: per step
            "num_samples": 1,  # of z per sentence and update
            "bow_weight": 0.0,  # of the bag-of-words loss; its source's is 1
        }
    )
    config.training = ConfigDict(
        {
            "seed": 0,
            "epochs": 100,
            "batch_size": 32,
            "max_batches": 0,  # an epoch is at most so many batches, drawn anew each time
            "optimiser": "sgd",
            "learning_rate": 1.0,
            "clip_norm": 5.0,
            "precision": "float32",  # or bfloat16: factors of training's products, not evaluation's
            "aggressive": False,
            "aggressive_epochs": 100,  # the phase lasts at most so long
            "aggressive_min_epochs": 0,  # and at least so long, whatever the MI
            "inner_optimiser": "sgd",
            "inner_learning_rate": 1.0,
            "inner_max_updates": 100,
            "inner_window": 15,
            "inner_clip": "encoder",  # or joint
            "patience": 2,
            "warm_epochs": 15,
            "decay": 0.5,
            "max_decays": 5,
            "parallel": "jit",  # or pmap
            "num_devices": 0,
            "vocab_shards": 1,  # parts of the vocabulary, each on other devices; divides them
            "coordinator": "",  # several processes: host:port of the first, or auto
            "num_processes": 1,
            "process_id": 0,
            "memory_gb": 0.0,  # of a device, kept by batches and samples in parts; 0: no limit
            "log_seconds": 10.0,
            "profile": 0,  # so many steps are traced into the run directory
        }
    )
    config.evaluation = ConfigDict(
        {
            "batch_size": 64,
            "mi_batch_size": 32,  # the aggregate posterior of He's estimator
            "iw_samples": 500,
            "iw_tolerance": 0.0,  # nats: fewer samples once the rest would change less; 0: all
            "iw_sentences": 0,  # the first so many of the test split
            "iw_batch_size": 8,  # sentences weighed at once
            "memory_mb": 64,  # for the samples decoded at once; on a GPU or TPU take more
            "num_examples": 10,  # sentences sampled, reconstructed, interpolated in the report
        }
    )
    return config.lock()  # a misspelt field in a configuration file is refused


def _choose(table: dict[str, Any], name: str, field: str) -> Any:
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(f"{field} = {name!r} is unknown: {hint}known are {', '.join(table)}")


def check(config: ConfigDict) -> None:
    """Refuses values that would fail later, less clearly.

    Raises:
      UserError: names the field, its value and what is allowed.
    """
    model, training = config.model, config.training
    _choose(dict.fromkeys(MODES_OF_MODEL), model.mode, "model.mode")
    _choose(ENCODERS, model.encoder, "model.encoder")
    _choose(DECODERS, model.decoder, "model.decoder")
    _choose(PRIORS, model.prior, "model.prior")
    _choose(CNN_SIZES, model.cnn_size, "model.cnn_size")
    if model.denoise:
        _choose(NOISES, model.denoise, "model.denoise")
    _choose(KL_SCHEDULES, config.objective.kl_schedule, "objective.kl_schedule")
    _choose(OPTIMISERS, training.optimiser, "training.optimiser")
    _choose(OPTIMISERS, training.inner_optimiser, "training.inner_optimiser")
    _choose(MODES, training.parallel, "training.parallel")
    _choose(PRECISIONS, training.precision, "training.precision")
    _choose(dict.fromkeys(("encoder", "joint")), training.inner_clip, "training.inner_clip")
    _choose(dict.fromkeys(("truncate", "drop")), config.data.too_long, "data.too_long")
    _choose(CORPORA, config.data.name, "data.name")
    _choose(TOKENIZERS, config.data.tokenizer, "data.tokenizer")
    positive = {
        "model": ("latent_size", "embed_size", "hidden_size"),
        "objective": ("num_samples", "kl_cycles", "kl_epochs"),
        "training": (
            "epochs",
            "batch_size",
            "learning_rate",
            "clip_norm",
            "inner_learning_rate",
            "inner_max_updates",
            "inner_window",
            "patience",
            "max_decays",
            "num_processes",
            "vocab_shards",
        ),
        "evaluation": (
            "batch_size",
            "mi_batch_size",
            "iw_samples",
            "iw_batch_size",
            "memory_mb",
            "num_examples",
        ),
        "data": ("max_buckets", "min_count"),
    }
    not_negative = {
        "data": ("seed", "max_size", "max_length"),
        "training": ("seed", "max_batches", "num_devices", "process_id", "memory_gb", "profile"),
        "evaluation": ("iw_sentences", "iw_tolerance"),
        "objective": ("bow_weight",),
    }
    for group, fields in positive.items():
        for field in fields:
            if not config[group][field] > 0:
                raise UserError(f"{group}.{field} = {config[group][field]} must be above 0")
    for group, fields in not_negative.items():
        for field in fields:
            if not config[group][field] >= 0:
                raise UserError(f"{group}.{field} = {config[group][field]} must be at least 0")
    for field in ("dropout_in", "dropout_out"):
        if not 0 <= model[field] < 1:
            raise UserError(f"model.{field} = {model[field]} must be at least 0 and below 1")
    for field in ("word_dropout", "denoise_rate"):
        if not 0 <= model[field] <= 1:
            raise UserError(f"model.{field} = {model[field]} must be from 0 to 1")
    if model.skip and model.decoder != "lstm":
        raise UserError(f"model.skip needs model.decoder = 'lstm', not {model.decoder!r}")
    for name, used in {
        "model.skip": model.skip,
        "model.denoise": model.denoise,
        "objective.bow_weight": config.objective.bow_weight,
    }.items():
        if used and model.mode == "lm":
            raise UserError(f"{name} = {used!r} needs a latent: model.mode = 'lm' has none")
    if training.memory_gb and training.parallel == "pmap":
        raise UserError("training.memory_gb needs training.parallel = 'jit', not 'pmap'")
    if training.vocab_shards > 1 and training.parallel == "pmap":
        raise UserError("training.vocab_shards needs training.parallel = 'jit', not 'pmap'")
    if training.aggressive and model.mode != "vae":
        raise UserError(
            f"training.aggressive needs model.mode = 'vae': with {model.mode!r} the encoder has "
            "no posterior to train"
        )


def make_model(config: ConfigDict, vocab_size: int, dtype: DType = None) -> VAE:
    """The model that `config.model` describes.

    Args:
      config: all of it.
      vocab_size: V.
      dtype: of the products' factors (`PRECISIONS`); training's alone may be rounded.
    """
    options = config.model
    language_model = options.mode == "lm"
    latent_size = 0 if language_model else options.latent_size
    sizes = {
        "vocab_size": vocab_size,
        "latent_size": latent_size,
        "embed_size": options.embed_size,
        "hidden_size": options.hidden_size,
        "init_scale": options.init_scale,
        "embed_init_scale": options.embed_init_scale,
        "dtype": dtype,
    }
    encoder = ENCODERS["none" if language_model else options.encoder](
        **sizes, point=options.mode == "ae"
    )
    if options.denoise:
        encoder = with_denoising(encoder, NOISES[options.denoise], options.denoise_rate)
    own: dict[str, dict[str, Any]] = {
        "cnn": {"size": options.cnn_size},
        "lstm": {"skip": options.skip},
    }
    decoder = DECODERS[options.decoder](
        **sizes,
        dropout_in=options.dropout_in,
        dropout_out=options.dropout_out,
        word_dropout=options.word_dropout,
        **own.get(options.decoder, {}),
    )
    if config.objective.bow_weight:
        decoder = with_bag_of_words(
            decoder, vocab_size=vocab_size, init_scale=options.init_scale, dtype=dtype
        )
    return VAE(
        encoder=encoder,
        decoder=decoder,
        prior=PRIORS[options.prior](latent_size=latent_size),
        latent_size=latent_size,
    )


def make_kl_schedule(config: ConfigDict, steps_per_epoch: int) -> Schedule:
    """The KL weight as a function of the step; epochs in the config become steps."""
    options = config.objective
    if config.model.mode != "vae":
        return KL_SCHEDULES["constant"](0.0)
    steps = max(1, round(options.kl_epochs * steps_per_epoch))
    arguments: dict[str, dict[str, Any]] = {
        "constant": {"value": options.kl_end},
        "linear": {"start": options.kl_start, "steps": steps, "end": options.kl_end},
        "logistic": {
            "midpoint": steps,
            "steepness": options.kl_steepness,
            "end": options.kl_end,
        },
        "cyclical": {
            "period": steps,
            "cycles": options.kl_cycles,
            "ramp": options.kl_ramp,
            "start": options.kl_start,
            "end": options.kl_end,
        },
    }
    return KL_SCHEDULES[options.kl_schedule](**arguments[options.kl_schedule])


def add_auxiliary_losses(config: ConfigDict, loss: Loss) -> Loss:
    """`loss`, and what the configuration adds to it."""
    if config.objective.bow_weight:
        loss = bag_of_words_loss(loss, config.objective.bow_weight)
    return loss


def make_optimisers(
    config: ConfigDict,
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """The joint optimiser, and the encoder's own for the inner loop."""
    options = config.training
    return (
        OPTIMISERS[options.optimiser](options.learning_rate),
        OPTIMISERS[options.inner_optimiser](options.inner_learning_rate),
    )


def make_inner_loop(config: ConfigDict) -> InnerLoop | None:
    """Settings of aggressive training, or None."""
    options = config.training
    if not options.aggressive:
        return None
    return InnerLoop(options.inner_max_updates, options.inner_window, options.inner_clip)


def make_control(config: ConfigDict) -> ControlSettings:
    """What happens between epochs."""
    options = config.training
    return ControlSettings(
        epochs=options.epochs,
        patience=options.patience,
        warm_epochs=options.warm_epochs,
        decay=options.decay,
        max_decays=options.max_decays,
        aggressive_epochs=options.aggressive_epochs,
        aggressive_min_epochs=options.aggressive_min_epochs,
    )


def difference(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """The first field in which two configurations differ for a resumed run, in words, or None."""
    for group in sorted(set(old) | set(new)):
        for field in sorted(set(old.get(group, {})) | set(new.get(group, {}))):
            before, after = old.get(group, {}).get(field), new.get(group, {}).get(field)
            if before != after and f"{group}.{field}" not in FREE_FIELDS:
                return f"{group}.{field} was {before!r} and is now {after!r}"
    return None
