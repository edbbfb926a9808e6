"""From the configuration to the library's values: the model, its schedules and optimisers."""

from typing import Any

import optax
from ml_collections import ConfigDict

from jvae.decoders import DECODERS
from jvae.encoders import ENCODERS
from jvae.model import VAE, Encoder, Prior
from jvae.objectives import Objective
from jvae.posteriors import POSTERIORS
from jvae.priors import PRIORS
from jvae.remedies import (
    KL_SCHEDULES,
    NOISES,
    InnerLoop,
    batch_norm,
    committed_rate,
    diversity,
    semi_amortised,
    with_denoising,
)
from jvae.training.control import ControlSettings
from jvae.training.optimisers import OPTIMISERS, Optimisers
from jvae.types import DType, Schedule


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
        "dtype": dtype,
    }
    scales = {"init_scale": options.init_scale, "embed_init_scale": options.embed_init_scale}
    dropout = {"dropout_in": options.dropout_in, "dropout_out": options.dropout_out}
    blocks = {
        name: options[name]
        for name in ("layers", "heads", "feed_forward", "norm", "positions", "max_positions")
    }
    expected = options.nvib_delta or 1.0  # pseudo-counts of a token
    # Never 0, these alphas count as 0 up to a share of that: the source's 0.1 with its delta 0.25.
    prune_exp = options.nvib_prune or 0.4 * expected
    of_layers = ("layers", "delta", "prior_alpha")
    encoder_name = "none" if language_model else options.encoder
    of_encoder: dict[str, dict[str, Any]] = {
        "lstm": scales,
        "transformer": {
            **blocks,
            **dropout,
            "pooling": options.pooling,
            **{f"nvib_{name}": options[f"nvib_{name}"] for name in of_layers},
            "nvib_prune": prune_exp,
            "attention_bias": options.attention_bias,
        },
    }
    of_family: dict[str, dict[str, Any]] = {
        "vmf": {"kappa": options.vmf_kappa},
        "planar": {"steps": options.flow_steps},
        "iaf": {"steps": options.flow_steps, "hidden": options.flow_hidden},
        "vt": {"latent_size": latent_size, "point": options.mode == "ae"},
        "vts": {"latent_size": latent_size, "stride": options.vts_stride},
        "nvib": {
            "latent_size": latent_size,
            "alpha": options.nvib_alpha,
            "kappa": options.nvib_kappa,
            "prior_alpha": options.nvib_prior_alpha,
            "start": options.nvib_start or expected,
            "prune": prune_exp if options.nvib_alpha == "exp" else options.nvib_prune,
        },
    }
    family = POSTERIORS[options.posterior](**of_family.get(options.posterior, {}))
    encoder = ENCODERS[encoder_name](
        **sizes, point=options.mode == "ae", family=family, **of_encoder.get(encoder_name, {})
    )
    if options.denoise:
        encoder = with_denoising(encoder, NOISES[options.denoise], options.denoise_rate)
    if options.posterior_map == "batch_norm":
        encoder = batch_norm(encoder, gamma=options.bn_gamma, latent_size=latent_size)
    if options.posterior_map == "committed_rate":
        encoder = committed_rate(encoder, rate=options.committed_rate)
    if options.posterior_map == "diversity":
        encoder = diversity(
            encoder,
            gamma=options.bn_gamma,
            rate=options.variance_dropout,
            latent_size=latent_size,
        )
    own: dict[str, dict[str, Any]] = {
        "cnn": {"size": options.cnn_size, **scales},
        "lstm": {"skip": options.skip, **scales},
        "transformer": {
            **blocks,
            "attention": options.attention,
            "attention_bias": options.attention_bias,
            "skip": options.skip,
        },
    }
    decoder = DECODERS[options.decoder](
        **sizes,
        **dropout,
        word_dropout=options.word_dropout,
        **own.get(options.decoder, {}),
    )
    model = VAE(encoder, decoder, make_prior(config, encoder, latent_size))
    if options.refine_steps:
        model = semi_amortised(
            model,
            steps=options.refine_steps,
            learning_rate=options.refine_rate,
            momentum=options.refine_momentum,
            clip_norm=options.refine_clip,
        )
    return model


def most_tokens(config: ConfigDict) -> int:
    """Of a sentence whose vectors a prior of sets can count, `</s>` among them."""
    length: int = config.data.max_length
    return length + 1 if length else int(config.model.max_positions)


def make_prior(config: ConfigDict, encoder: Encoder, latent_size: int) -> Prior:
    """`config.model.prior`, of a model with this encoder."""
    options = config.model
    longest = most_tokens(config)  # vectors of a set: as many as a sentence has tokens
    arguments: dict[str, dict[str, Any]] = {
        "standard_normal": {"latent_size": latent_size},
        "uniform_sphere": {"latent_size": latent_size},
        "mixture": {"latent_size": latent_size, "components": options.prior_components},
        "vamp": {
            "encoder": encoder,
            "components": options.prior_components,
            "length": options.pseudo_length,
            "embed_size": options.embed_size,
            "init_scale": options.embed_init_scale,
        },
        "normal_set": {"latent_size": latent_size, "max_count": longest},
        "dirichlet_process": {
            "latent_size": latent_size,
            "max_count": longest,
            "delta": options.nvib_delta,
            "prior_alpha": options.nvib_prior_alpha,
            "kappa": options.nvib_kappa,
        },
    }
    return PRIORS[options.prior](**arguments[options.prior])


def last_kl_weight(config: ConfigDict) -> float:
    """Of the KL as the loss has it at the end of its schedule; 0: an autoencoder, be it noisy."""
    options = config.objective
    return float(options.kl_end * (1 - options.info_alpha))


def make_schedules(config: ConfigDict, steps_per_epoch: int) -> dict[str, Schedule]:
    """By name, what the loss is given of each step; epochs in the config become steps."""
    options = config.objective
    shared = _kl_schedule(
        config, options.kl_schedule, options.kl_epochs, options.kl_delay, steps_per_epoch
    )
    training = config.training
    rate = optax.constant_schedule(training.learning_rate)
    if training.warmup_steps:
        rate = optax.linear_schedule(0.0, training.learning_rate, training.warmup_steps)
    schedules = {
        "kl_weight": shared,
        "learning_rate": rate,
        "inner_learning_rate": optax.constant_schedule(training.inner_learning_rate),
        "clip_norm": optax.constant_schedule(training.clip_norm),
    }
    if options.loss == "capacity":
        schedules["capacity"] = KL_SCHEDULES["linear"](
            0.0, options.capacity_steps, options.capacity
        )
    if options.loss == "by_name":
        of_weights = shared
        if own := options.dirichlet_schedule:
            of_weights = _kl_schedule(
                config, own, options.dirichlet_epochs, options.dirichlet_delay, steps_per_epoch
            )
        for name, schedule in {"gaussian": shared, "dirichlet": of_weights}.items():
            schedules[f"{name}_weight"] = _times(options[f"{name}_weight"], schedule)
    return schedules


def _times(factor: float, schedule: Schedule) -> Schedule:
    return schedule if factor == 1 else lambda step: factor * schedule(step)


def _kl_schedule(
    config: ConfigDict, name: str, epochs: float, delay: float, steps_per_epoch: int
) -> Schedule:
    options = config.objective
    if config.model.mode != "vae":
        return KL_SCHEDULES["constant"](0.0)
    steps = max(1, round(epochs * steps_per_epoch))
    arguments: dict[str, dict[str, Any]] = {
        "constant": {"value": options.kl_end},
        "linear": {
            "start": options.kl_start,
            "steps": steps,
            "end": options.kl_end,
            "delay": round(delay * steps_per_epoch),
        },
        "logistic": {
            "midpoint": steps,
            "steepness": options.kl_steepness,
            "end": options.kl_end,
        },
        "cyclical": {
            "period": steps,
            "cycles": options.kl_cycles,
            "ramp": options.kl_ramp,
            "shape": options.kl_shape,
            "start": options.kl_start,
            "end": options.kl_end,
        },
    }
    schedule = KL_SCHEDULES[name](**arguments[name])
    return _times(1 - options.info_alpha, schedule)


def make_optimisers(config: ConfigDict, objective: Objective) -> Optimisers:
    """Makes the joint optimiser, the encoder's for the inner loop, and the objective's own."""
    options = config.training
    return Optimisers(
        OPTIMISERS[options.optimiser](),
        OPTIMISERS[options.inner_optimiser](),
        objective.optimisers,
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
