"""Posterior families by name. A new one is one file and one line here."""

from collections.abc import Callable

from jvae.posteriors.family import DIAGONAL as DIAGONAL
from jvae.posteriors.family import Family as Family
from jvae.posteriors.family import TokenFamily as TokenFamily
from jvae.posteriors.family import diagonal as diagonal
from jvae.posteriors.full import full as full
from jvae.posteriors.iaf import iaf as iaf
from jvae.posteriors.nvib import ALPHAS as ALPHAS
from jvae.posteriors.nvib import nvib as nvib
from jvae.posteriors.planar import planar as planar
from jvae.posteriors.tokens import vt as vt
from jvae.posteriors.tokens import vts as vts
from jvae.posteriors.vmf import vmf as vmf

# Those whose posteriors are of sets of vectors, made of all of a sentence's tokens.
OF_TOKENS: dict[str, Callable[..., TokenFamily]] = {"vt": vt, "vts": vts, "nvib": nvib}

POSTERIORS: dict[str, Callable[..., Family | TokenFamily]] = {
    "diagonal": diagonal,
    "full": full,
    "vmf": vmf,
    "planar": planar,
    "iaf": iaf,
    **OF_TOKENS,
}
