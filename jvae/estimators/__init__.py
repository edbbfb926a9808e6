"""Gradient estimators by name. A new one is one file and one line here."""

from jvae.estimators.base import Estimate as Estimate
from jvae.estimators.base import Estimator as Estimator
from jvae.estimators.enumeration import enumeration as enumeration
from jvae.estimators.pathwise import pathwise as pathwise

ESTIMATORS: dict[str, Estimator] = {"pathwise": pathwise, "enumeration": enumeration}
