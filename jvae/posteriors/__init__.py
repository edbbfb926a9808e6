"""Posterior families by name. A new one is one file and one line here."""

from jvae.capabilities import (
    ANY_DENSITY,
    DIRECTIONS,
    KL_IN_NATS,
    LATENT,
    MIXTURE_PRIOR,
    MIXTURES,
    ONE_VECTOR,
    POSTERIOR,
    SET_READER,
    SPHERE_PRIOR,
    TOKEN_PRIOR,
    TOKEN_STATES,
    TOKEN_VECTORS,
    TRAINED_KL,
    TRAINED_SCORE,
)
from jvae.capabilities import (
    DIAGONAL as DIAGONAL_POSTERIORS,
)
from jvae.components import Component, Registry
from jvae.posteriors.categorical import CATEGORICAL
from jvae.posteriors.categorical import categorical as categorical
from jvae.posteriors.family import DIAGONAL as DIAGONAL
from jvae.posteriors.family import Family as Family
from jvae.posteriors.family import TokenFamily as TokenFamily
from jvae.posteriors.family import diagonal as diagonal
from jvae.posteriors.full import full as full
from jvae.posteriors.iaf import IAFOptions, build_iaf
from jvae.posteriors.iaf import iaf as iaf
from jvae.posteriors.nvib import ALPHAS as ALPHAS
from jvae.posteriors.nvib import NVIBOptions as NVIBOptions
from jvae.posteriors.nvib import build_nvib
from jvae.posteriors.nvib import nvib as nvib
from jvae.posteriors.planar import PlanarOptions, build_planar
from jvae.posteriors.planar import planar as planar
from jvae.posteriors.tokens import VTSOptions, build_vt, build_vts
from jvae.posteriors.tokens import vt as vt
from jvae.posteriors.tokens import vts as vts
from jvae.posteriors.vmf import AT_LEAST_A_CIRCLE, VMFOptions, build_vmf
from jvae.posteriors.vmf import vmf as vmf

# Needs of a vector for each token.
_OF_TOKENS = {
    TOKEN_STATES: "each token has its vector",
    SET_READER: "z is a set of vectors",
}
_OF_NORMAL_SETS = _OF_TOKENS | {TOKEN_PRIOR: "its KL is to such a prior"}
_SAMPLED = {POSTERIOR: "it is drawn from"}
_TRAINED = frozenset({TRAINED_KL, KL_IN_NATS})

POSTERIORS: Registry = {
    "diagonal": Component(
        build=lambda options, shared: diagonal(),
        gives=_TRAINED | {ONE_VECTOR, DIAGONAL_POSTERIORS, ANY_DENSITY},
        about="a Gaussian with a diagonal covariance",
    ),
    "categorical": CATEGORICAL,
    "full": Component(
        build=lambda options, shared: full(),
        gives=_TRAINED | {ONE_VECTOR, ANY_DENSITY},
        needs=_SAMPLED,
        about="a Gaussian with all covariances",
    ),
    "vmf": Component(
        VMFOptions,
        build_vmf,
        gives=frozenset({ONE_VECTOR, ANY_DENSITY, DIRECTIONS}),
        needs=_SAMPLED | {SPHERE_PRIOR: "its draws are directions"},
        rules=(AT_LEAST_A_CIRCLE,),
        about="a direction with a fixed concentration (Xu and Durrett, 2018)",
    ),
    "planar": Component(
        PlanarOptions,
        build_planar,
        gives=_TRAINED | {ONE_VECTOR},
        needs=_SAMPLED,
        about="a Gaussian bent by planar flows (Rezende and Mohamed, 2015)",
    ),
    "iaf": Component(
        IAFOptions,
        build_iaf,
        gives=_TRAINED | {ONE_VECTOR},
        needs=_SAMPLED,
        about="a Gaussian bent by inverse autoregressive flows (Kingma et al., 2016)",
    ),
    "vt": Component(
        build=build_vt,
        gives=_TRAINED | {ANY_DENSITY, TOKEN_VECTORS},
        needs={LATENT: "it has a vector for each token"} | _OF_NORMAL_SETS,
        about="a Gaussian vector for each token",
    ),
    "vts": Component(
        VTSOptions,
        build_vts,
        gives=_TRAINED | {ANY_DENSITY, TOKEN_VECTORS},
        needs=_SAMPLED | _OF_NORMAL_SETS,
        about="a Gaussian vector for a share of the tokens",
    ),
    "nvib": Component(
        NVIBOptions,
        build_nvib,
        gives=frozenset({ANY_DENSITY, MIXTURES, TRAINED_KL}),
        needs=_SAMPLED
        | _OF_TOKENS
        | {
            MIXTURE_PRIOR: "its weights are Dirichlet's",
            TRAINED_SCORE: "training has other terms than the ELBO; 'by_name' weighs them",
        },
        about="as many Gaussian vectors as a sentence needs (Henderson and Fehr, 2023)",
    ),
}
