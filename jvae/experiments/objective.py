"""What `config.objective` asks for: the loss, its terms, and which combinations make no sense."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ml_collections import ConfigDict

from jvae.errors import UserError
from jvae.objectives import ELBOTerms, Loss, elbo, negative_elbo
from jvae.remedies import (
    RATE_CONTROLS,
    RateControl,
    capacity,
    free_bits,
    iwae,
    negative_iwae,
    stick_the_landing,
)
from jvae.vae import VAE

# Name -> `config.objective -> Loss`.
LOSSES: dict[str, Callable[[ConfigDict], Loss]] = {
    "elbo": lambda options: negative_elbo,
    "free_bits": lambda options: free_bits(
        options.free_bits, options.free_bits_mode, options.free_bits_form
    ),
    "capacity": lambda options: capacity,
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
    unweighted = options.kl_schedule == "constant" and options.kl_end == 1
    constant = "objective.kl_schedule = 'constant' and objective.kl_end = 1.0: no other weight fits"
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


def make_loss(config: ConfigDict) -> Loss:
    """What training minimises."""
    options = config.objective
    if options.bound == "iwae":
        return negative_iwae
    return LOSSES[options.loss](options)


def make_terms(config: ConfigDict) -> Callable[..., ELBOTerms]:
    """What computes the terms of a training batch."""
    if config.objective.bound == "iwae":
        return partial(iwae, gradient=config.objective.gradient)
    return elbo


def make_rate_control(config: ConfigDict) -> RateControl | None:
    """What holds the KL at a rate, or None."""
    options = config.objective
    arguments: dict[str, dict[str, Any]] = {
        "minimum_rate": {"learning_rate": options.rate_learning_rate},
        "soft_free_bits": {},
    }
    if not options.rate_control:
        return None
    return RATE_CONTROLS[options.rate_control](options.rate, **arguments[options.rate_control])


def make_trained_model(config: ConfigDict, model: VAE) -> VAE:
    """The model as its training sees it."""
    if config.objective.gradient == "stl":
        return model._replace(encoder=stick_the_landing(model.encoder))
    return model
