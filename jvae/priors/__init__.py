"""Priors by name. A new one is one file and one line here."""

from collections.abc import Callable

from jvae.priors.standard_normal import standard_normal as standard_normal
from jvae.vae import Prior

PRIORS: dict[str, Callable[..., Prior]] = {
    "standard_normal": standard_normal,
}
