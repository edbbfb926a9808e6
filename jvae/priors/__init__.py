"""Priors by name. A new one is one file, one line here and its arguments in `make_prior`."""

from collections.abc import Callable

from jvae.model import Prior
from jvae.priors.dirichlet_process import dirichlet_process as dirichlet_process
from jvae.priors.mixture import mixture as mixture
from jvae.priors.normal_set import normal_set as normal_set
from jvae.priors.standard_normal import standard_normal as standard_normal
from jvae.priors.uniform_sphere import uniform_sphere as uniform_sphere
from jvae.priors.vamp import vamp as vamp

PRIORS: dict[str, Callable[..., Prior]] = {
    "standard_normal": standard_normal,
    "mixture": mixture,
    "vamp": vamp,
    "uniform_sphere": uniform_sphere,
    "normal_set": normal_set,
    "dirichlet_process": dirichlet_process,
}
