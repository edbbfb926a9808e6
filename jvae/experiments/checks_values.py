"""Refuses values of single fields: unknown names, numbers out of their range."""

import difflib
import math
from collections.abc import Iterable

from ml_collections import ConfigDict

from jvae.data import CORPORA, TOKENIZERS
from jvae.decoders import CNN_SIZES, DECODERS
from jvae.encoders import ENCODERS, POOLINGS
from jvae.errors import UserError
from jvae.experiments.config import EVALUATED, MODES_OF_MODEL, POSTERIOR_MAPS, PRECISIONS
from jvae.experiments.objective import BOUNDS, GRADIENTS, LOSSES
from jvae.layers import ATTENTIONS, NORMS, POSITIONS, VARIANTS
from jvae.posteriors import ALPHAS, POSTERIORS
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

# Field -> the names that it may have.
NAMES: dict[str, Iterable[str]] = {
    "model.mode": MODES_OF_MODEL,
    "model.encoder": ENCODERS,
    "model.decoder": DECODERS,
    "model.prior": PRIORS,
    "model.posterior": POSTERIORS,
    "model.posterior_map": POSTERIOR_MAPS,
    "model.cnn_size": CNN_SIZES,
    "model.norm": NORMS,
    "model.positions": POSITIONS,
    "model.pooling": POOLINGS,
    "model.attention": ATTENTIONS,
    "model.attention_bias": VARIANTS,
    "model.nvib_alpha": ALPHAS,
    "model.denoise": NOISES,
    "objective.kl_schedule": KL_SCHEDULES,
    "objective.dirichlet_schedule": KL_SCHEDULES,
    "objective.kl_shape": RAMPS,
    "objective.loss": LOSSES,
    "objective.free_bits_mode": FREE_BITS_MODES,
    "objective.free_bits_form": FREE_BITS_FORMS,
    "objective.rate_control": RATE_CONTROLS,
    "objective.mmd_kernel": KERNELS,
    "objective.bound": BOUNDS,
    "objective.gradient": GRADIENTS,
    "training.optimiser": OPTIMISERS,
    "training.inner_optimiser": OPTIMISERS,
    "training.parallel": MODES,
    "training.precision": PRECISIONS,
    "training.inner_clip": ("encoder", "joint"),
    "data.too_long": ("truncate", "drop"),
    "data.name": CORPORA,
    "data.tokenizer": TOKENIZERS,
    "evaluation.split": EVALUATED,
}
# Of these "" means none.
OPTIONAL = {
    "model.denoise",
    "objective.dirichlet_schedule",
    "objective.rate_control",
}
POSITIVE = {
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
NOT_NEGATIVE = {
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
        "dirichlet_delay",
        "gaussian_weight",
        "dirichlet_weight",
        "bow_weight",
        "mi_weight",
        "adversarial_weight",
    ),
}
MOST_KAPPA = 1e4  # the memory of its normalising constant grows with it


def check_values(config: ConfigDict) -> None:
    """Refuses what no other field could make right.

    Raises:
      UserError: names the field, its value and what is allowed.
    """
    model, objective, training = config.model, config.objective, config.training
    for path, names in NAMES.items():
        group, field = path.split(".")
        value = config[group][field]
        if value or path not in OPTIONAL:
            _check_name(path, value, list(names))
    for group, values in config.items():
        for field, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{group}.{field} = {value} must be a finite number")
    for group, fields in POSITIVE.items():
        for field in fields:
            if not config[group][field] > 0:
                raise UserError(f"{group}.{field} = {config[group][field]} must be above 0")
    for group, fields in NOT_NEGATIVE.items():
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


def _check_name(field: str, name: str, known: list[str]) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(f"{field} = {name!r} is unknown: {hint}known are {', '.join(known)}")
