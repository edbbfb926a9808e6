"""Free bits: the KL below a target costs nothing, so that nothing is gained by losing it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jvae.configs import option
from jvae.errors import UserError
from jvae.objectives import ELBOTerms, Loss, Scheduled
from jvae.remedies.by_name import ScheduledLoss
from jvae.types import Array


def _per_dimension(terms: ELBOTerms) -> Array:
    """`[B, L]`, the KL terms of all names side by side."""
    if any(kl.ndim == 1 for kl in terms.kl.values()):
        raise UserError(
            "free bits per dimension need a KL that is a sum over dimensions, but that of this "
            "posterior and prior is one number per sentence: take the mode 'total'"
        )
    return jnp.concatenate([*terms.kl.values()], axis=1)


def _groups(terms: ELBOTerms, weight: Array) -> tuple[Array, Array]:
    kl = _per_dimension(terms)
    return kl, kl


def _groups_of_batch(terms: ELBOTerms, weight: Array) -> tuple[Array, Array]:
    kl = _per_dimension(terms)
    # A batch of padding rows alone has no mean, and no loss either.
    return kl, weight @ kl / jnp.maximum(jnp.sum(weight), 1)


def _one_group(terms: ELBOTerms, weight: Array) -> tuple[Array, Array]:
    kl = terms.total_kl[:, None]
    return kl, kl


# Name -> `(terms, weight) -> (KL [B, G], what is compared with the target, [B, G] or [G])`.
FREE_BITS_MODES: dict[str, Callable[[ELBOTerms, Array], tuple[Array, Array]]] = {
    "dimension": _groups,
    "dimension_batch": _groups_of_batch,
    "total": _one_group,
}
FREE_BITS_FORMS = ("mask", "clamp")


def free_bits(target: float = 8.0, mode: str = "dimension", form: str = "mask") -> Loss:
    """`-log_likelihood + kl_weight * sum_g free(KL_g)`, nats per example.

    The groups g are the L dimensions, each with a share `target / L`, or with "total" one group
    with all of it. What decides is, with "dimension" and "total", the KL of this sentence; with
    "dimension_batch", the dimension's mean over the batch's sentences. Where that is above the
    share, `free(KL_g) = KL_g`; else it is 0 ("mask": Li et al.) or the share ("clamp": Kingma et
    al., `max(share, KL_g)`).

    Both forms keep the same gradient: all of the KL's above the target, none of it at or below.
    They differ in the number minimised, which the mask makes jump by the share at the target, and
    so in what is logged as loss and in the stop rule of aggressive training. With
    "dimension_batch" a sentence below the share keeps its KL's gradient if the batch is above, and
    the other way round; the mean must be of the whole batch, hence no microbatches and no `pmap`.

    Args:
      target: nats per example, over all dimensions. Li et al. take 8 for 32 dimensions on PTB.
      mode: a key of `FREE_BITS_MODES`.
      form: one of `FREE_BITS_FORMS`.

    Raises:
      UserError: a mode by dimension, and a KL that is not a sum over dimensions.

    References:
      Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow,
      appendix C.8 ("dimension_batch", "clamp"); Li et al. (2019), A Surprisingly Effective Fix for
      Deep Latent Variable Modeling of Text, and its script ("dimension" or "total", "mask").
    """

    def loss(terms: ELBOTerms, scheduled: Scheduled, weight: Array) -> Array:
        kl, decides = FREE_BITS_MODES[mode](terms, weight)
        share = target / max(kl.shape[1], 1)
        below = share if form == "clamp" else 0.0
        free = jnp.sum(jnp.where(decides > share, kl, below), axis=1)
        return scheduled["kl_weight"] * free - terms.log_likelihood

    return loss


@dataclasses.dataclass(frozen=True)
class FreeBitsOptions:
    """Options of free bits."""

    target: float = option(8.0, "nats per example, over all dimensions", above=0)
    mode: str = option("dimension", "KL that is compared with the target", choices=FREE_BITS_MODES)
    form: str = option(
        "mask", "the loss below the target: 0, or the target", choices=FREE_BITS_FORMS
    )


def build_free_bits(options: FreeBitsOptions, shared: Any) -> ScheduledLoss:
    """Builds the loss of a configuration."""
    del shared
    return ScheduledLoss(free_bits(options.target, options.mode, options.form))
