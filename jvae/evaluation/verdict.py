"""Is the latent used? One word, and the numbers that say so.

No number is proof by itself. A KL can be paid for nothing (a shifted prior, free bits: Zhu et al.
2020 report delta-VAEs with 8 nats of KL, MI 0 and no active unit), a posterior can hold information
that the decoder ignores, and active units depend on the scale of z. The strongest evidence is
what the decoder loses with the z of another example. The numbers behind the thresholds below are
in the tables of He et al. 2019 and Li et al. 2019.
"""

import math
from typing import Literal, NamedTuple

# Nats below which a number counts as zero: collapsed models in the tables have KL and MI of 0.0 to
# 0.1.
NOTHING = 0.1
# Nats of KL, and of loss with a wrong z, from which on a latent counts as used: one nat tells some
# three (e) kinds of example apart. The used models of the tables have 3 nats and more.
SOMETHING = 1.0
# The share of the KL that must be mutual information, as far as N sentences show it. Free bits
# alone reach 0.3 to 0.5, or leave 3 of 32 units active: they pay to move the aggregate
# posterior. Models trained well reach 0.7 to 0.9.
INFORMATIVE = 0.5
# The share of units that must be active: with fewer, nearly all of z is noise from the prior.
ACTIVE = 0.125
# Standard errors by which the gap must exceed a threshold: noise alone rarely does.
ERRORS = 2.0

Label = Literal["collapsed", "partly used", "used"]

HINTS: dict[Label, str] = {
    "collapsed": (
        "try pretraining the encoder as an autoencoder, then free bits (Li et al. 2019), "
        "aggressive encoder training (He et al. 2019), or a slower KL warm-up"
    ),
    "partly used": (
        "try more free bits after autoencoder pretraining (Li et al. 2019), or a smaller KL weight"
    ),
    "used": "",
}


class Measures(NamedTuple):
    """Metrics of one evaluation set, from which the verdict is drawn.

    Attributes:
      kl: `KL(q(z|x) || p(z))`, mean, nats per example.
      mi: mutual information over the corpus (`mi_corpus`), nats.
      active_units: how many.
      latent_size: L.
      examples: N.
      shuffled_gap: reconstruction loss with the z of another example, less that with its own:
        mean, nats per example.
      shuffled_gap_error: its standard error.
    """

    kl: float
    mi: float
    active_units: int
    latent_size: int
    examples: int
    shuffled_gap: float
    shuffled_gap_error: float


class Verdict(NamedTuple):
    """Judgement on how far the latent is used.

    Attributes:
      label: "collapsed", "partly used" or "used".
      reasons: the measures in words; those that keep the label from being "used" first.
      hint: what to try; empty for "used".
    """

    label: Label
    reasons: tuple[str, ...]
    hint: str

    def __str__(self) -> str:
        """Returns one line, `label: reasons`."""
        return f"{self.label}: {', '.join(self.reasons)}"


def verdict(measures: Measures, row: str = "example") -> Verdict:
    """Judges the latent of one model.

    collapsed: the KL or the MI is about zero, or a wrong z costs about nothing, or no unit is
    active and a wrong z costs little. used: KL, MI, active units and the cost of a wrong z all
    are substantial. partly used: the rest.

    Args:
      measures: of a posterior with a density; an autoencoder has no KL to judge.
      row: the word for an example.

    Raises:
      ValueError: a measure is not finite.
    """
    if not all(math.isfinite(value) for value in measures):
        raise ValueError(f"no verdict from measures that are not finite: {measures}")
    gap, noise = measures.shuffled_gap, ERRORS * measures.shuffled_gap_error
    possible = min(measures.kl, math.log(measures.examples))
    vague = NOTHING <= measures.mi < INFORMATIVE * possible
    kl = f"KL {_nats(measures.kl)}"
    mi = f"MI {_nats(measures.mi)}" + (f" of {possible:.1f} possible" if vague else "")
    units = f"{measures.active_units} of {measures.latent_size} units active"
    cost = f"a wrong z costs {_nats(gap)} per {row}"
    cost += " (within noise)" if NOTHING <= gap < NOTHING + noise else ""

    empty = {
        kl: measures.kl < NOTHING,
        mi: measures.mi < NOTHING,
        # Not by itself: a latent of small scale has no active unit and may yet be read.
        units: measures.active_units == 0 and gap < SOMETHING + noise,
        cost: gap < NOTHING + noise,
    }
    weak = {
        kl: measures.kl < SOMETHING,
        mi: measures.mi < INFORMATIVE * possible,
        units: measures.active_units < ACTIVE * measures.latent_size,
        cost: gap < SOMETHING + noise,
    }
    label: Label = "collapsed" if any(empty.values()) else "partly used"
    if not any(weak.values()) and label != "collapsed":
        label = "used"
    against = empty if label == "collapsed" else weak
    reasons = tuple(sorted(against, key=lambda reason: not against[reason]))
    return Verdict(label, reasons, HINTS[label])


def _nats(value: float) -> str:
    """Writes an amount in words: a small estimate may be negative, which says nothing."""
    return f"{value:.1f} nats" if value >= NOTHING else f"less than {NOTHING} nats"
