"""Posterior families by name. A new one is one file and one line here."""

from collections.abc import Callable

from jvae.posteriors.family import DIAGONAL as DIAGONAL
from jvae.posteriors.family import Family as Family
from jvae.posteriors.full import FULL as FULL
from jvae.posteriors.vmf import vmf as vmf

POSTERIORS: dict[str, Callable[..., Family]] = {
    "diagonal": lambda **_: DIAGONAL,
    "full": lambda **_: FULL,
    "vmf": vmf,
}
