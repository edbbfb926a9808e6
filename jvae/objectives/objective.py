"""Objectives: the losses of training, with all that they learn and count beside the model."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import optax

from jvae.batch import Batch
from jvae.model import VAE
from jvae.objectives.elbo import ELBOTerms, elbo
from jvae.objectives.losses import Loss, Scheduled
from jvae.types import Array, Key, Params


class Outcome(NamedTuple):
    """An objective's result for a batch.

    Attributes:
      losses: `[B]`, nats per example. Their gradient trains every parameter group: what one group
        learns and another must not is cut by `stop_gradient`, and a part that must not change the
        value is added by `gradient_of`.
      terms: of the bound, for objectives that wrap this one.
      statistics: by name, trees of sums over the batch's real rows. They add over microbatches,
        devices and processes, and `Objective.after` reads them once an update.
      metrics: by name, `[B]`, what the log averages over an epoch; "rec" and "kl" of a VAE.
    """

    losses: Array
    terms: Any
    statistics: dict[str, Any]
    metrics: dict[str, Array]


class Groups(NamedTuple):
    """The additions of an objective to the training state.

    Attributes:
      params: by name, parameter groups beside the model's.
      carried: by name, what is counted.
    """

    params: dict[str, Params]
    carried: dict[str, Any]


class Apply(Protocol):
    """Computes the losses of a batch."""

    def __call__(
        self,
        params: Params,
        carried: Mapping[str, Any],
        batch: Batch,
        *,
        key: Key,
        scheduled: Scheduled,
    ) -> Outcome:
        """`params` are the model's and the objective's; `scheduled` this step's schedule values."""
        ...


def describe_schedules(carried: Mapping[str, Any], scheduled: Scheduled) -> dict[str, Any]:
    """Returns the values of the schedules."""
    del carried
    return dict(scheduled)


class Objective(NamedTuple):
    """A value made of pure functions.

    Attributes:
      init: `(key, params) -> Groups`: what is learnt and counted beside the model's `params`.
      apply: see `Apply`.
      after: `(params, carried, statistics) -> (params, carried)`, once an update.
      optimisers: by name of a parameter group, its own optimiser, without learning-rate decay and
        clipping; the model's groups, and others without an entry, share the run's.
      describe: `(carried, scheduled) -> numbers`, by name, for the log; "kl_weight" of a VAE.
    """

    init: Callable[[Key, Params], Groups]
    apply: Apply
    after: Callable[[Params, Mapping[str, Any], Mapping[str, Any]], tuple[Params, dict[str, Any]]]
    optimisers: Mapping[str, optax.GradientTransformation] = {}
    describe: Callable[[Mapping[str, Any], Scheduled], dict[str, Any]] = describe_schedules


Terms = Callable[..., ELBOTerms]  # `jvae.elbo`, or a function with its arguments


def bound_objective(
    model: VAE, loss: Loss, *, terms_of: Terms = elbo, num_samples: int = 1
) -> Objective:
    """Makes the objective `loss` of the terms of a bound.

    Args:
      model: the VAE.
      loss: terms -> `[B]`.
      terms_of: `jvae.elbo`, or a function with its arguments (another bound, another estimator).
      num_samples: samples of z for each example.
    """

    def init(key: Key, params: Params) -> Groups:
        return Groups({}, {})

    def apply(
        params: Params,
        carried: Mapping[str, Any],
        batch: Batch,
        *,
        key: Key,
        scheduled: Scheduled,
    ) -> Outcome:
        terms = terms_of(model, params, batch, key=key, num_samples=num_samples, train=True)
        metrics = {"rec": -terms.log_likelihood, "kl": terms.total_kl}
        losses = loss(terms, scheduled, batch.weight)
        return Outcome(losses, terms, dict(terms.statistics), metrics)

    def after(
        params: Params, carried: Mapping[str, Any], statistics: Mapping[str, Any]
    ) -> tuple[Params, dict[str, Any]]:
        if model.encoder.after is not None:
            encoder = model.encoder.after(params["encoder"], statistics["encoder"])
            params = params | {"encoder": encoder}
        return params, dict(carried)

    return Objective(init, apply, after)


def gradient_of(values: Array) -> Array:
    """Returns zeros whose derivative is that of `values`."""
    return values - jax.lax.stop_gradient(values)


def add_losses(
    objective: Objective, extra: Callable[[Params, Batch, Outcome, Key], Array]
) -> Objective:
    """Adds `extra(params, batch, outcome, key)`, `[B]`, nats per example, to the losses."""

    def apply(
        params: Params,
        carried: Mapping[str, Any],
        batch: Batch,
        *,
        key: Key,
        scheduled: Scheduled,
    ) -> Outcome:
        outcome = objective.apply(params, carried, batch, key=key, scheduled=scheduled)
        losses = outcome.losses + extra(params, batch, outcome, key)
        return outcome._replace(losses=losses)

    return objective._replace(apply=apply)
