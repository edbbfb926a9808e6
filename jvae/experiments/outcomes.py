"""Finished runs side by side: by method, and their differences sentence by sentence."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jvae.evaluation.diagnostics import standard_error
from jvae.experiments.methods import bounds

Outcome = dict[str, Any]


class Difference(NamedTuple):
    """Nats per sentence.

    Attributes:
      value: the mean over sentences.
      se: its standard error over sentences. What other seeds would add is not in it.
    """

    value: float
    se: float


def by_method(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The runs that succeeded, of each method that has any."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if "error" not in outcome:
            groups.setdefault(outcome["method"], []).append(outcome)
    return groups


def verdicts(runs: Sequence[Outcome]) -> str:
    """The verdict on z, of each seed if they differ."""
    labels = [run["results"].get("verdict", {}).get("label", "") for run in runs]
    return labels[0] if len(set(labels)) == 1 else ", ".join(labels)


def mean(runs: Sequence[Outcome], key: str) -> float:
    """A figure of the results, over seeds."""
    return statistics.mean(run["results"][key] for run in runs)


def paired(first: Sequence[Outcome], second: Sequence[Outcome]) -> Difference | None:
    """`mean_n(a_n - b_n)`, a and b the means over a method's seeds of each sentence's IW-NLL.

    A sentence that is hard for one model is hard for the next: the error of this difference is far
    below that of either NLL.

    Args:
      first: runs of one method.
      second: runs of another.

    Returns:
      None if some have no figures of single sentences, or of other sentences.
    """
    kept = [run["results"].get("iw_nll_each") for run in (*first, *second)]
    if not first or not second or None in kept or len({len(each) for each in kept}) > 1:
        return None
    a, b = (np.mean(some, axis=0) for some in (kept[: len(first)], kept[len(first) :]))
    return Difference(float(np.mean(a - b)), standard_error(a - b))


def with_differences(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes, in their results "over_floor": `Difference` to the floor's run of that seed.

    The floor is the language model with the method's decoder.
    """
    found = []
    for outcome in outcomes:
        same = (bounds(outcome["method"])[0], outcome["seed"])
        floors = [o for o in outcomes if (o["method"], o["seed"]) == same and "error" not in o]
        if "error" not in outcome and outcome not in floors:
            difference = paired([outcome], floors)
            if difference is not None:
                results = outcome["results"] | {"over_floor": difference._asdict()}
                outcome = outcome | {"results": results}
        found.append(outcome)
    return found
