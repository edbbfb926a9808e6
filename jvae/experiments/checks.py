"""Refuses configurations that would fail later, less clearly."""

import difflib
import math
from typing import Any

from ml_collections import ConfigDict

from jvae.data import CORPORA, TOKENIZERS
from jvae.decoders import CNN_SIZES, DECODERS
from jvae.encoders import ENCODERS, POOLINGS
from jvae.errors import UserError
from jvae.experiments.checks_sets import check_sets
from jvae.experiments.config import MODES_OF_MODEL, POSTERIOR_MAPS, PRECISIONS
from jvae.experiments.objective import BOUNDS, GRADIENTS, LOSSES, check_objective
from jvae.layers import ATTENTIONS, NORMS, POSITIONS, VARIANTS
from jvae.posteriors import ALPHAS, OF_TOKENS, POSTERIORS
from jvae.priors import PRIORS
from jvae.remedies import (
    FREE_BITS_FORMS,
    FREE_BITS_MODES,
    KERNELS,
    KL_SCHEDULES,
    NOISES,
    RAMPS,
    RATE_CONTROLS,
)
from jvae.training.optimisers import OPTIMISERS
from jvae.training.parallel import MODES

MOST_KAPPA = 1e4  # the memory of its normalising constant grows with it


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
    _choose(POSTERIORS, model.posterior, "model.posterior")
    _choose(dict.fromkeys(POSTERIOR_MAPS), model.posterior_map, "model.posterior_map")
    _choose(CNN_SIZES, model.cnn_size, "model.cnn_size")
    _choose(dict.fromkeys(NORMS), model.norm, "model.norm")
    _choose(dict.fromkeys(POSITIONS), model.positions, "model.positions")
    _choose(POOLINGS, model.pooling, "model.pooling")
    _choose(dict.fromkeys(ATTENTIONS), model.attention, "model.attention")
    _choose(VARIANTS, model.attention_bias, "model.attention_bias")
    _choose(dict.fromkeys(ALPHAS), model.nvib_alpha, "model.nvib_alpha")
    if model.denoise:
        _choose(NOISES, model.denoise, "model.denoise")
    objective = config.objective
    _choose(KL_SCHEDULES, objective.kl_schedule, "objective.kl_schedule")
    if objective.dirichlet_schedule:
        _choose(KL_SCHEDULES, objective.dirichlet_schedule, "objective.dirichlet_schedule")
    _choose(RAMPS, objective.kl_shape, "objective.kl_shape")
    _choose(LOSSES, objective.loss, "objective.loss")
    _choose(FREE_BITS_MODES, objective.free_bits_mode, "objective.free_bits_mode")
    _choose(dict.fromkeys(FREE_BITS_FORMS), objective.free_bits_form, "objective.free_bits_form")
    if objective.rate_control:
        _choose(RATE_CONTROLS, objective.rate_control, "objective.rate_control")
    _choose(KERNELS, objective.mmd_kernel, "objective.mmd_kernel")
    _choose(dict.fromkeys(BOUNDS), objective.bound, "objective.bound")
    _choose(dict.fromkeys(GRADIENTS), objective.gradient, "objective.gradient")
    _choose(OPTIMISERS, training.optimiser, "training.optimiser")
    _choose(OPTIMISERS, training.inner_optimiser, "training.inner_optimiser")
    _choose(MODES, training.parallel, "training.parallel")
    _choose(PRECISIONS, training.precision, "training.precision")
    _choose(dict.fromkeys(("encoder", "joint")), training.inner_clip, "training.inner_clip")
    _choose(dict.fromkeys(("truncate", "drop")), config.data.too_long, "data.too_long")
    _choose(CORPORA, config.data.name, "data.name")
    _choose(TOKENIZERS, config.data.tokenizer, "data.tokenizer")
    positive = {
        "model": (
            "latent_size",
            "embed_size",
            "hidden_size",
            "prior_components",
            "pseudo_length",
            "bn_gamma",
            "committed_rate",
            "vmf_kappa",
            "flow_steps",
            "flow_hidden",
            "nvib_kappa",
            "nvib_prior_alpha",
            "layers",
            "heads",
            "max_positions",
            "refine_rate",
            "refine_clip",
        ),
        "objective": (
            "num_samples",
            "kl_cycles",
            "kl_epochs",
            "kl_steepness",
            "dirichlet_epochs",
            "free_bits",
            "capacity",
            "capacity_steps",
            "rate",
            "rate_learning_rate",
            "discriminator_size",
            "discriminator_learning_rate",
        ),
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
        "training": (
            "seed",
            "max_batches",
            "warmup_steps",
            "num_devices",
            "process_id",
            "memory_gb",
            "profile",
            "pretrain_epochs",
        ),
        "evaluation": ("iw_sentences", "iw_tolerance"),
        "model": (
            "refine_steps",
            "feed_forward",
            "nvib_delta",
            "nvib_start",
            "nvib_prune",
            "nvib_layers",
        ),
        "objective": (
            "kl_start",
            "kl_end",
            "kl_delay",
            "gaussian_weight",
            "dirichlet_weight",
            "bow_weight",
            "mi_weight",
            "adversarial_weight",
        ),
    }
    for group, values in config.items():
        for field, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{group}.{field} = {value} must be a finite number")
    for group, fields in positive.items():
        for field in fields:
            if not config[group][field] > 0:
                raise UserError(f"{group}.{field} = {config[group][field]} must be above 0")
    for group, fields in not_negative.items():
        for field in fields:
            if not config[group][field] >= 0:
                raise UserError(f"{group}.{field} = {config[group][field]} must be at least 0")
    if not 0 < training.decay <= 1:
        raise UserError(f"training.decay = {training.decay} must be above 0 and at most 1")
    if model.vmf_kappa > MOST_KAPPA:
        raise UserError(
            f"model.vmf_kappa = {model.vmf_kappa} must be at most {MOST_KAPPA}: above, directions "
            "are all but fixed"
        )
    if not 0 < objective.kl_ramp <= 1:
        raise UserError(f"objective.kl_ramp = {objective.kl_ramp} must be above 0 and at most 1")
    if training.seed >= 2**31:
        raise UserError(f"training.seed = {training.seed} must be below 2**31 = {2**31}")
    for field in ("dropout_in", "dropout_out", "variance_dropout"):
        if not 0 <= model[field] < 1:
            raise UserError(f"model.{field} = {model[field]} must be at least 0 and below 1")
    for field in ("word_dropout", "denoise_rate", "vts_stride"):
        if not 0 <= model[field] <= 1:
            raise UserError(f"model.{field} = {model[field]} must be from 0 to 1")
    if model.skip and model.decoder == "cnn":
        raise UserError("model.skip needs model.decoder = 'lstm' or 'transformer', not 'cnn'")
    if model.skip and model.posterior in OF_TOKENS:
        raise UserError(
            f"model.skip needs one latent vector: model.posterior = {model.posterior!r} has a set"
        )
    for name, used in {
        "model.skip": model.skip,
        "model.denoise": model.denoise,
        "objective.bow_weight": config.objective.bow_weight,
    }.items():
        if used and model.mode == "lm":
            raise UserError(f"{name} = {used!r} needs a latent: model.mode = 'lm' has none")
    check_objective(config)
    check_sets(config)
    if model.prior not in ("standard_normal", "normal_set") and model.mode != "vae":
        raise UserError(
            f"model.prior = {model.prior!r} needs model.mode = 'vae': in mode {model.mode!r} "
            "nothing would teach it"
        )
    if model.prior == "vamp" and model.encoder == "none":
        raise UserError("model.prior = 'vamp' needs a model.encoder that reads embeddings: 'lstm'")
    _check_posterior(config)
    _check_posterior_map(config)
    if training.pretrain_epochs and model.mode != "vae":
        raise UserError(
            f"training.pretrain_epochs = {training.pretrain_epochs} needs model.mode = 'vae', not "
            f"{model.mode!r}"
        )
    if training.pretrain_epochs and model.posterior in OF_TOKENS:
        raise UserError(
            f"training.pretrain_epochs = {training.pretrain_epochs} does not go with "
            f"model.posterior = {model.posterior!r}: its autoencoder has the prior of one vector, "
            "not of sets"
        )
    _check_refinement(config)
    if model.encoder == "none" and model.mode != "lm":
        raise UserError(f"model.encoder = 'none' needs model.mode = 'lm', not {model.mode!r}")
    if training.memory_gb and training.parallel == "pmap":
        raise UserError("training.memory_gb needs training.parallel = 'jit', not 'pmap'")
    if training.vocab_shards > 1 and training.parallel == "pmap":
        raise UserError("training.vocab_shards needs training.parallel = 'jit', not 'pmap'")
    if training.aggressive and model.mode != "vae":
        raise UserError(
            f"training.aggressive needs model.mode = 'vae': with {model.mode!r} the encoder has "
            "no posterior to train"
        )


def _check_posterior(config: ConfigDict) -> None:
    model = config.model
    name = f"model.posterior = {model.posterior!r}"
    if (model.posterior == "vmf") != (model.prior == "uniform_sphere"):
        raise UserError(
            f"{name} does not go with model.prior = {model.prior!r}: 'vmf' and 'uniform_sphere' "
            "live on the sphere, and need each other"
        )
    if model.posterior == "diagonal":
        return
    if model.mode != "vae" and (model.mode, model.posterior) != ("ae", "vt"):
        raise UserError(f"{name} needs model.mode = 'vae': {model.mode!r} has no such posterior")
    if model.posterior == "vmf" and model.latent_size == 1:
        raise UserError(f"{name} needs model.latent_size of at least 2: a sphere")
    for field, works in (("loss", "elbo"), ("rate_control", "")):
        if model.posterior == "vmf" and config.objective[field] != works:
            raise UserError(
                f"objective.{field} = {config.objective[field]!r} does not go with {name}: its KL "
                "is a constant, which model.vmf_kappa sets"
            )
    if model.prior == "vamp":
        raise UserError(f"{name} does not go with model.prior = 'vamp', a mixture of 'diagonal'")
    if model.posterior_map != "none":
        raise UserError(
            f"{name} does not go with model.posterior_map = {model.posterior_map!r}: its bound "
            "holds for 'diagonal'"
        )
    if model.posterior in ("planar", "iaf") and config.objective.gradient != "plain":
        raise UserError(
            f"{name} needs objective.gradient = 'plain', not {config.objective.gradient!r}: a flow "
            "knows the density of its own draws, not that at fixed parameters"
        )
    if config.training.aggressive:
        raise UserError(
            f"{name} does not go with training.aggressive: its phase ends by the mutual "
            "information, whose estimator takes 'diagonal'"
        )


def _check_posterior_map(config: ConfigDict) -> None:
    model, training = config.model, config.training
    name = f"model.posterior_map = {model.posterior_map!r}"
    if model.posterior_map == "none":
        return
    if model.mode != "vae":
        raise UserError(f"{name} needs model.mode = 'vae': it bounds the KL of a posterior")
    if model.prior != "standard_normal":
        raise UserError(
            f"{name} needs model.prior = 'standard_normal': a prior that learns would follow the "
            "posteriors, and their KL is not bounded from below"
        )
    if model.posterior_map in ("batch_norm", "diversity"):
        if training.batch_size == 1:
            raise UserError(f"{name} needs training.batch_size of at least 2: its moments vary")
        if training.parallel == "pmap" or training.memory_gb:
            raise UserError(
                f"{name} takes moments over the whole batch: it needs training.parallel = 'jit' "
                "and training.memory_gb = 0"
            )


def _check_refinement(config: ConfigDict) -> None:
    model = config.model
    if not 0 <= model.refine_momentum < 1:
        raise UserError(
            f"model.refine_momentum = {model.refine_momentum} must be at least 0 and below 1"
        )
    if not model.refine_steps:
        return
    for field, value, why in (
        ("model.mode", "vae", "elsewhere there is no posterior to refine"),
        ("model.posterior", "diagonal", "the steps move its mean and log variance"),
        ("model.posterior_map", "none", "the steps would leave its bound"),
        ("objective.bound", "elbo", "that is what the steps raise"),
        ("objective.gradient", "plain", "the training gradient passes through the steps"),
        ("training.aggressive", False, "both keep q up with the decoder; each update would refine"),
    ):
        group, name = field.split(".")
        if config[group][name] != value:
            raise UserError(
                f"model.refine_steps = {model.refine_steps} needs {field} = {value!r}, "
                f"not {config[group][name]!r}: {why}"
            )
