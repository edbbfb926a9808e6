"""Is the latent used? One word, and the figures that say so.

No figure is proof by itself. A KL can be paid for nothing (a shifted prior, free bits: Zhu et al.
2020 report delta-VAEs with 8 nats of KL, MI 0 and no active unit), a posterior can hold information
that the decoder ignores, and active units depend on the scale of z. The strongest evidence is
what the decoder loses with the z of another sentence. Thresholds below; figures behind them are
in the tables of He et al. 2019 and Li et al. 2019.
"""

import math
from typing import Literal, NamedTuple

# Nats below which a figure counts as zero: collapsed models in the tables have KL and MI of 0.0 to
# 0.1.
NOTHING = 0.1
# Nats of KL, and of loss with a wrong z, from which on a latent counts as used: one nat tells some
# three (e) kinds of sentence apart. The used models of the tables have 3 nats and more.
SOMETHING = 1.0
# How much of the KL, as far as N sentences can show it, must be mutual information. Free bits alone
# reach 0.3 to 0.5, or leave 3 of 32 units active: they pay to move the aggregate posterior. Models
# trained well reach 0.7 to 0.9.
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


class Figures(NamedTuple):
    """What the verdict is drawn from, over one evaluation set.

    Attributes:
      kl: `KL(q(z|x) || p(z))`, mean, nats per sentence.
      mi: mutual information over the corpus (`mi_corpus`), nats.
      active_units: how many.
      latent_size: L.
      sentences: N.
      shuffled_gap: reconstruction loss with the z of another sentence, less that with its own:
        mean, nats per sentence.
      shuffled_gap_error: its standard error.
    """

    kl: float
    mi: float
    active_units: int
    latent_size: int
    sentences: int
    shuffled_gap: float
    shuffled_gap_error: float


class Verdict(NamedTuple):
    """Whether the latent is used.

    Attributes:
      label: "collapsed", "partly used" or "used".
      reasons: the figures in words; those that keep the label from being "used" first.
      hint: what to try; empty for "used".
    """

    label: Label
    reasons: tuple[str, ...]
    hint: str

    def __str__(self) -> str:
        """One line, `label: reasons`."""
        return f"{self.label}: {', '.join(self.reasons)}"


def verdict(figures: Figures) -> Verdict:
    """Judges the figures of one model.

    collapsed: the KL or the MI is about zero, or a wrong z costs about nothing, or no unit is
    active and a wrong z costs little. used: KL, MI, active units and the cost of a wrong z all
    are substantial. partly used: the rest.

    Args:
      figures: of a posterior with a density; an autoencoder has no KL to judge.

    Raises:
      ValueError: a figure is not finite.
    """
    if not all(math.isfinite(figure) for figure in figures):
        raise ValueError(f"no verdict from figures that are not finite: {figures}")
    gap, noise = figures.shuffled_gap, ERRORS * figures.shuffled_gap_error
    possible = min(figures.kl, math.log(figures.sentences))
    vague = NOTHING <= figures.mi < INFORMATIVE * possible
    kl = f"KL {_nats(figures.kl)}"
    mi = f"MI {_nats(figures.mi)}" + (f" of {possible:.1f} possible" if vague else "")
    units = f"{figures.active_units} of {figures.latent_size} units active"
    cost = f"a wrong z costs {_nats(gap)} per sentence"
    cost += " (within noise)" if NOTHING <= gap < NOTHING + noise else ""

    empty = {
        kl: figures.kl < NOTHING,
        mi: figures.mi < NOTHING,
        # Not by itself: a latent of small scale has no active unit and may yet be read.
        units: figures.active_units == 0 and gap < SOMETHING + noise,
        cost: gap < NOTHING + noise,
    }
    weak = {
        kl: figures.kl < SOMETHING,
        mi: figures.mi < INFORMATIVE * possible,
        units: figures.active_units < ACTIVE * figures.latent_size,
        cost: gap < SOMETHING + noise,
    }
    label: Label = "collapsed" if any(empty.values()) else "partly used"
    if not any(weak.values()) and label != "collapsed":
        label = "used"
    against = empty if label == "collapsed" else weak
    reasons = tuple(sorted(against, key=lambda reason: not against[reason]))
    return Verdict(label, reasons, HINTS[label])


def _nats(value: float) -> str:
    """An amount in words: a small estimate may be negative, which says nothing."""
    return f"{value:.1f} nats" if value >= NOTHING else f"less than {NOTHING} nats"
