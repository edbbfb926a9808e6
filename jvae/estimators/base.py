"""The contract of gradient estimators of `E_q f(z)`."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from jvae.types import Array, Key, Params


class Estimate(NamedTuple):
    """An estimate of `E_q f(z)`.

    Attributes:
      value: a tree of `[B, ..]`: the estimate, whose derivative is the estimator's gradient. Where
        that is not the derivative of the value, a term of value zero carries it.
      z: samples, leaves `[S, B, ..]`.
      log_q: `[S, B]`, their log densities, where they came with the samples; else None.
      statistics: a tree of sums over rows, for what the estimator counts (moving averages).
    """

    value: Any
    z: Any
    log_q: Array | None
    statistics: Any = {}


class Estimator(Protocol):
    """Estimates an expectation under the posterior, with a gradient for its parameters."""

    def __call__(
        self, f: Callable[[Any], Any], q: Any, keys: Key, *, params: Params, carried: Any
    ) -> Estimate:
        """Evaluates f at samples of q.

        Args:
          f: z `[B, ..]` -> a tree of `[B, ..]`.
          q: the posterior.
          keys: of the samples, `[S, B]`.
          params: all parameters of the objective, the estimator's own among them (baselines).
          carried: what the objective has counted.
        """
        ...
