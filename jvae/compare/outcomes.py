"""Finished runs side by side: grouped by method, and their differences example by example."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jvae.evaluation.diagnostics import standard_error

Outcome = dict[str, Any]


class Difference(NamedTuple):
    """A difference of two IW-NLLs in nats per example.

    Attributes:
      value: the mean over examples.
      se: its standard error over examples. It leaves out what other seeds would add.
    """

    value: float
    se: float


def by_method(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Returns the runs that succeeded, of each method that has any."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if "error" not in outcome:
            groups.setdefault(outcome["method"], []).append(outcome)
    return groups


def verdicts(runs: Sequence[Outcome]) -> str:
    """Returns the verdict on z, or that of each seed if they differ."""
    labels = [run["results"].get("verdict", {}).get("label", "") for run in runs]
    return labels[0] if len(set(labels)) == 1 else ", ".join(labels)


def mean(runs: Sequence[Outcome], key: str) -> float:
    """Computes the mean of a number of the results over seeds."""
    return statistics.mean(run["results"][key] for run in runs)


def with_times(outcome: Outcome) -> dict[str, Any]:
    """Returns the results with "seconds" of training and "seconds_to_best" added.

    Both hold the time of earlier phases, although other methods may share them.
    """
    results, history = outcome["results"], outcome["history"]
    before, best = float(results.get("pretrain_seconds", 0.0)), results.get("best_epoch", 0)
    to_best = sum(record["seconds"] for record in history if record["epoch"] <= best)
    seconds = sum(record["seconds"] for record in history)
    return results | {"seconds": before + seconds, "seconds_to_best": before + to_best}


def paired(first: Sequence[Outcome], second: Sequence[Outcome]) -> Difference | None:
    """Computes `mean_n(a_n - b_n)` with each example's IW-NLL a, b as a mean over seeds.

    An example that is hard for one model is hard for the next: the error of this difference is far
    below that of either NLL.

    Args:
      first: runs of one method.
      second: runs of another.

    Returns:
      None if some runs have no numbers of single examples, or numbers of other examples.
    """
    kept = [run["results"].get("iw_nll_each") for run in (*first, *second)]
    if not first or not second or None in kept or len({len(each) for each in kept}) > 1:
        return None
    a, b = (np.mean(some, axis=0) for some in (kept[: len(first)], kept[len(first) :]))
    return Difference(float(np.mean(a - b)), standard_error(a - b))


def with_differences(
    outcomes: Sequence[Outcome], bounds: Callable[[str], tuple[str, ...]]
) -> list[Outcome]:
    """Adds "over_floor", the `Difference` to the floor's run of the same seed, to the results.

    Args:
      outcomes: of all methods.
      bounds: method -> its floor, the same decoder without a latent, and its ceiling, or nothing.
    """
    completed = []
    for outcome in outcomes:
        same = (bounds(outcome["method"])[:1], outcome["seed"])
        floors = [o for o in outcomes if ((o["method"],), o["seed"]) == same and "error" not in o]
        if "error" not in outcome and outcome not in floors:
            difference = paired([outcome], floors)
            if difference is not None:
                results = outcome["results"] | {"over_floor": difference._asdict()}
                outcome = outcome | {"results": results}
        completed.append(outcome)
    return completed
