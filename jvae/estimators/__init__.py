"""Gradient estimators by name. A new one is one file and one line here."""

from jvae.capabilities import DISCRETE_GRADIENT, ELBO_BOUND, FEW_VALUES
from jvae.components import Component, Registry
from jvae.estimators.base import Estimate as Estimate
from jvae.estimators.base import Estimator as Estimator
from jvae.estimators.enumeration import enumeration as enumeration
from jvae.estimators.pathwise import pathwise as pathwise

# Build an `Estimator`.
ESTIMATORS: Registry = {
    "pathwise": Component(
        build=lambda options, shared: pathwise,
        about="through the samples (Kingma and Welling, 2014)",
    ),
    "enumeration": Component(
        build=lambda options, shared: enumeration,
        gives=frozenset({DISCRETE_GRADIENT}),
        needs={
            FEW_VALUES: "it sums over all of them",
            ELBO_BOUND: "it is no mean of importance samples",
        },
        about="the exact sum over all values of z",
    ),
}
