"""What `config.objective` asks for: the loss, its terms, and which combinations make no sense."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ml_collections import ConfigDict

from jvae.errors import UserError
from jvae.model import VAE
from jvae.objectives import (
    Loss,
    Objective,
    Terms,
    bound_objective,
    elbo,
    negative_elbo,
    negative_elbo_by_name,
)
from jvae.remedies import (
    RATE_CONTROLS,
    RateControl,
    capacity,
    free_bits,
    iwae,
    negative_iwae,
    stick_the_landing,
    with_adversary,
    with_bag_of_words,
    with_mmd,
    with_mutual_information,
    with_rate_control,
)
from jvae.types import DType

# Name -> `config.objective -> Loss`.
LOSSES: dict[str, Callable[[ConfigDict], Loss]] = {
    "elbo": lambda options: negative_elbo,
    "free_bits": lambda options: free_bits(
        options.free_bits, options.free_bits_mode, options.free_bits_form
    ),
    "capacity": lambda options: capacity,
    "by_name": lambda options: negative_elbo_by_name,
}
BOUNDS = ("elbo", "iwae")
GRADIENTS = ("plain", "stl", "dreg")


def check_objective(config: ConfigDict) -> None:
    """Refuses combinations without a meaning.

    Raises:
      UserError: names the field, its value and what it needs.
    """
    options, training = config.objective, config.training

    def need(field: str, value: Any, holds: bool, needs: str) -> None:
        if not holds:
            raise UserError(f"objective.{field} = {value!r} needs {needs}")

    if options.kl_shape != "linear":
        cyclical = options.kl_schedule == "cyclical"
        why = "objective.kl_schedule = 'cyclical', whose ramps it shapes"
        need("kl_shape", options.kl_shape, cyclical, why)
    if options.kl_delay:
        why = "objective.kl_schedule = 'linear', whose ramp it delays"
        need("kl_delay", options.kl_delay, options.kl_schedule == "linear", why)
    if options.dirichlet_delay:
        why = "objective.dirichlet_schedule = 'linear', whose ramp it delays"
        linear = options.dirichlet_schedule == "linear"
        need("dirichlet_delay", options.dirichlet_delay, linear, why)
    if options.dirichlet_schedule:
        why = "objective.loss = 'by_name': elsewhere the KL has one weight"
        by_name = options.loss == "by_name"
        need("dirichlet_schedule", options.dirichlet_schedule, by_name, why)
    unweighted = (options.kl_schedule, options.kl_end, options.info_alpha) == ("constant", 1, 0)
    constant = (
        "objective.kl_schedule = 'constant', objective.kl_end = 1.0 and objective.info_alpha = "
        "0.0: no other weight fits"
    )
    for field, default in (("loss", "elbo"), ("rate_control", ""), ("bound", "elbo")):
        value = options[field]
        if value == default:
            continue
        vae = "model.mode = 'vae': elsewhere the KL is 0"
        need(field, value, config.model.mode == "vae", vae)
        if field != "loss":
            need(field, value, unweighted, constant)
            need(
                field, value, options.loss == "elbo", "objective.loss = 'elbo': it is a loss itself"
            )
    if options.loss == "free_bits" and options.free_bits_mode == "dimension_batch":
        whole = training.parallel == "jit" and not training.memory_gb
        why = "training.parallel = 'jit' and training.memory_gb = 0: its mean is of a whole batch"
        need("free_bits_mode", options.free_bits_mode, whole, why)
    if options.loss == "free_bits" and options.free_bits_mode != "total":
        model = config.model
        factorises = (model.posterior, model.prior, options.gradient) == (
            "diagonal",
            "standard_normal",
            "plain",
        )
        why = (
            "a KL that is a sum over dimensions: model.posterior = 'diagonal', model.prior = "
            "'standard_normal' and objective.gradient = 'plain'; elsewhere take 'total'"
        )
        need("free_bits_mode", options.free_bits_mode, factorises, why)
    if options.bound == "iwae":
        several = "objective.num_samples above 1: with one sample it is the ELBO"
        need("bound", "iwae", options.num_samples > 1, several)
        alone = "objective.rate_control = '': it has no KL to weigh"
        need("bound", "iwae", not options.rate_control, alone)
        no_head = "objective.bow_weight = 0: its terms are of several samples, the head's of one"
        need("bound", "iwae", not options.bow_weight, no_head)
    if options.gradient == "stl":
        need("gradient", "stl", config.model.mode == "vae", "model.mode = 'vae': a density of z")
        biased = (
            "objective.bound = 'elbo': of the importance-weighted bound it is biased, take dreg"
        )
        need("gradient", "stl", options.bound == "elbo", biased)
    if options.gradient == "dreg":
        same = "objective.bound = 'iwae': of the ELBO it is stl"
        need("gradient", "dreg", options.bound == "iwae", same)
    _check_aggregate(config)


def _check_aggregate(config: ConfigDict) -> None:
    options, model, training = config.objective, config.model, config.training

    def need(field: str, holds: bool, needs: str) -> None:
        if not holds:
            raise UserError(f"objective.{field} = {options[field]!r} needs {needs}")

    need("info_alpha", options.info_alpha <= 1, "to be at most 1: it takes so much of the KL away")
    least = f"to be at least {1 - options.info_alpha:g} (1 - objective.info_alpha)"
    need("info_lambda", _mmd_weight(config) >= 0, least)
    mmd = "info_lambda" if options.info_lambda != 1 else "info_alpha"
    used = [mmd] if _mmd_weight(config) else []
    used += [field for field in ("mi_weight", "adversarial_weight") if options[field]]
    for field in used:
        need(field, options.bound == "elbo", "objective.bound = 'elbo': its terms are the ELBO's")
        need(field, model.mode != "lm", "a latent: model.mode = 'lm' has none")
        if field == "mi_weight":
            need(field, model.mode == "vae", "model.mode = 'vae': a density of z")
            flow = model.posterior in ("planar", "iaf")
            need(field, not flow, "another model.posterior: a flow knows its own draws' density")
            both = "objective.gradient = 'plain': 'stl' leaves out a part of its gradient"
            need(field, options.gradient == "plain", both)
        else:
            fixed = "model.prior = 'standard_normal': draws of a prior that stands still"
            need(field, model.prior == "standard_normal", fixed)
        if field == "adversarial_weight":
            late = "training.aggressive = False: its discriminator would lag behind the inner loop"
            need(field, not training.aggressive, late)
        else:
            whole = training.parallel == "jit" and not training.memory_gb
            need(
                field,
                whole,
                "training.parallel = 'jit' and training.memory_gb = 0: it is of a whole batch",
            )


def _mmd_weight(config: ConfigDict) -> float:
    return config.objective.info_alpha + config.objective.info_lambda - 1


def make_objective(
    config: ConfigDict, model: VAE, vocab_size: int, dtype: DType = None
) -> Objective:
    """Makes what training minimises.

    Args:
      config: all of it.
      model: as it is trained.
      vocab_size: V.
      dtype: of the products' factors.
    """
    options, latent_size = config.objective, config.model.latent_size
    if options.gradient == "stl":
        model = model._replace(encoder=stick_the_landing(model.encoder))
    loss: Loss = LOSSES[options.loss](options)
    terms_of: Terms = elbo
    if options.bound == "iwae":
        loss, terms_of = negative_iwae, partial(iwae, gradient=options.gradient)
    objective = bound_objective(model, loss, terms_of=terms_of, num_samples=options.num_samples)
    if options.bow_weight:
        objective = with_bag_of_words(
            objective,
            weight=options.bow_weight,
            vocab_size=vocab_size,
            latent_size=latent_size,
            init_scale=config.model.init_scale,
            dtype=dtype,
        )
    if mmd_weight := _mmd_weight(config):
        objective = with_mmd(objective, model, mmd_weight, options.mmd_kernel)
    if options.mi_weight:
        objective = with_mutual_information(objective, options.mi_weight)
    if control := make_rate_control(config):
        objective = with_rate_control(objective, control)
    if options.adversarial_weight:
        objective = with_adversary(
            objective,
            model,
            latent_size,
            weight=options.adversarial_weight,
            hidden_size=options.discriminator_size,
            learning_rate=options.discriminator_learning_rate,
        )
    return objective


def make_rate_control(config: ConfigDict) -> RateControl | None:
    """Makes what holds the KL at a rate, or None."""
    options = config.objective
    arguments: dict[str, dict[str, Any]] = {
        "minimum_rate": {"learning_rate": options.rate_learning_rate},
        "soft_free_bits": {},
    }
    if not options.rate_control:
        return None
    return RATE_CONTROLS[options.rate_control](options.rate, **arguments[options.rate_control])
