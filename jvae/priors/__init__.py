"""Priors by name. A new one is one file and one line here."""

from jvae.capabilities import (
    DIAGONAL,
    DIRECTIONS,
    EMBEDDINGS,
    FIXED_PRIOR,
    MIXTURE_PRIOR,
    MIXTURES,
    POSTERIOR,
    SPHERE_PRIOR,
    TOKEN_PRIOR,
    TOKEN_VECTORS,
)
from jvae.components import Component, Registry
from jvae.priors.categorical import CATEGORICAL_PRIOR
from jvae.priors.categorical import categorical_prior as categorical_prior
from jvae.priors.dirichlet_process import build_dirichlet_process
from jvae.priors.dirichlet_process import dirichlet_process as dirichlet_process
from jvae.priors.fitted_normal import fitted_normal as fitted_normal
from jvae.priors.mixture import MixtureOptions, build_mixture
from jvae.priors.mixture import mixture as mixture
from jvae.priors.normal_set import build_normal_set
from jvae.priors.normal_set import normal_set as normal_set
from jvae.priors.standard_normal import standard_normal as standard_normal
from jvae.priors.uniform_sphere import uniform_sphere as uniform_sphere
from jvae.priors.vamp import VampOptions, build_vamp
from jvae.priors.vamp import vamp as vamp

_TAUGHT = {POSTERIOR: "elsewhere nothing would teach it"}

PRIORS: Registry = {
    "standard_normal": Component(
        build=lambda options, shared: standard_normal(latent_size=shared.latent_size),
        gives=frozenset({FIXED_PRIOR}),
        about="N(0, I)",
    ),
    "categorical": CATEGORICAL_PRIOR,
    "fitted_normal": Component(
        build=lambda options, shared: fitted_normal(latent_size=shared.latent_size),
        gives=frozenset({FIXED_PRIOR}),
        needs={
            POSTERIOR: "elsewhere there is nothing to fit",
            DIAGONAL: "it is the Gaussian of their moments",
        },
        about="N(0, I) in training, then the Gaussian of all posteriors",
    ),
    "mixture": Component(
        MixtureOptions, build_mixture, needs=_TAUGHT, about="a learnt mixture of Gaussians"
    ),
    "vamp": Component(
        VampOptions,
        build_vamp,
        needs=_TAUGHT
        | {
            EMBEDDINGS: "its pseudo-sentences are embeddings",
            DIAGONAL: "it is a mixture of them",
        },
        about="the mixture of the posteriors of learnt sentences (Tomczak and Welling, 2018)",
    ),
    "uniform_sphere": Component(
        build=lambda options, shared: uniform_sphere(latent_size=shared.latent_size),
        gives=frozenset({SPHERE_PRIOR}),
        needs={DIRECTIONS: "it is a prior of directions"},
        about="uniform over the unit sphere",
    ),
    "normal_set": Component(
        build=build_normal_set,
        gives=frozenset({TOKEN_PRIOR}),
        needs={TOKEN_VECTORS: "it is a prior of sets"},
        about="a set of standard normal vectors, whose number is counted",
    ),
    "dirichlet_process": Component(
        build=build_dirichlet_process,
        gives=frozenset({MIXTURE_PRIOR}),
        needs=_TAUGHT | {MIXTURES: "it is a prior of sets"},
        about="standard normal vectors with Dirichlet weights; its options are those of nvib",
    ),
}
