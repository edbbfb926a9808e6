"""The objective that a configuration asks for, its schedules, and the score of an epoch."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from jvae.components import build, build_named
from jvae.data import Tokenizer
from jvae.model import VAE
from jvae.objectives import Objective, bound_objective, elbo
from jvae.objectives.objective import Terms
from jvae.remedies import (
    KL_SCHEDULES,
    KLWeight,
    RateControl,
    ScheduledLoss,
    iwae,
    negative_iwae,
    stick_the_landing,
    with_adversary,
    with_bag_of_words,
    with_mmd,
    with_mutual_information,
    with_rate_control,
)
from jvae.remedies.by_name import times
from jvae.remedies.kl_schedules import constant
from jvae.tasks.text.config import OBJECTIVE, mmd_weight
from jvae.types import DType, Schedule


def build_objective(config: Any, model: VAE, tokenizer: Tokenizer, dtype: DType) -> Objective:
    """Makes what training minimises, see `jvae.runs.task.Task.objective`."""
    return make_objective(config, model, tokenizer.vocab_size, dtype)


def make_objective(config: Any, model: VAE, vocab_size: int, dtype: DType = None) -> Objective:
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
    loss = make_loss(config).loss
    terms_of: Terms = partial(elbo, estimator=build(OBJECTIVE, "estimator", config, None))
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
    if weight := mmd_weight(options):
        objective = with_mmd(objective, model, weight, options.mmd_kernel)
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


def make_loss(config: Any) -> ScheduledLoss:
    """Makes the loss of the ELBO's terms."""
    loss: ScheduledLoss = build(OBJECTIVE, "loss", config, None)
    return loss


def make_rate_control(config: Any) -> RateControl | None:
    """Makes what holds the KL at a rate, or None."""
    control: RateControl | None = build(OBJECTIVE, "rate_control", config, None)
    return control


def make_schedules(config: Any, steps_per_epoch: int) -> dict[str, Schedule]:
    """Makes what the objective asks for at each step, by name; epochs become steps."""
    options = config.objective

    def schedule_of(name: str, epochs: float, delay: float) -> Schedule:
        return _kl_schedule(config, name, epochs, delay, steps_per_epoch) if name else shared

    shared = schedule_of(options.kl_schedule, options.kl_epochs, options.kl_delay)
    return {"kl_weight": shared} | make_loss(config).schedules(schedule_of)


def _kl_schedule(
    config: Any, name: str, epochs: float, delay: float, steps_per_epoch: int
) -> Schedule:
    options = config.objective
    if config.model.mode != "vae":
        return constant(0.0)
    steps = max(1, round(epochs * steps_per_epoch))
    weight = KLWeight(options.kl_start, options.kl_end, steps, round(delay * steps_per_epoch))
    schedule: Schedule = build_named(OBJECTIVE, KL_SCHEDULES, name, config, weight)
    return times(1 - options.info_alpha, schedule)


def last_kl_weight(config: Any) -> float:
    """Returns the final KL weight of the loss; 0 means an autoencoder, with noise or without."""
    options = config.objective
    return float(options.kl_end * (1 - options.info_alpha))


def score(config: Any, metrics: Mapping[str, Any]) -> float:
    """Returns what the best epoch has most of, nats per sentence.

    Args:
      config: all of it.
      metrics: of the validation split.
    """
    # An autoencoder's KL grows: by the ELBO at full weight its first epoch would be its best.
    weight = last_kl_weight(config)
    if weight == 0:
        return float(-metrics["rec"])
    if config.objective.loss == "by_name":  # likewise, by the last weights that it learns by
        of_terms = {"kl_gaussian": metrics["kl"], **metrics}  # one vector has but one KL
        kl = sum(
            config.objective.by_name[f"{name}_weight"] * of_terms.get(f"kl_{name}{of}", 0.0)
            for name in ("gaussian", "dirichlet")
            for of in ("", "_layers")
        )
        length = of_terms.get("kl_length", 0.0)  # of weight 1, as in the loss
        return float(-metrics["rec"] - weight * kl - length)
    return float(metrics["elbo"])
