"""The recommendation of a comparison: a method, the reason, and the command that trains it."""

import shlex
from collections.abc import Sequence

from jvae.compare.methods import all_bounds
from jvae.compare.outcomes import Outcome, by_method, mean, paired, verdicts
from jvae.evaluation.metric import Nouns, plus_minus
from jvae.runs.task import Methods


def recommendation(outcomes: Sequence[Outcome], methods: Methods, nouns: Nouns) -> str:
    """Recommends the method with the lowest IW-NLL among those that use z with every seed.

    Args:
      outcomes: of all methods.
      methods: of the comparison.
      nouns: of the task.
    """
    groups, bounds = by_method(outcomes), all_bounds(methods)
    failed = {outcome["method"] for outcome in outcomes if "error" in outcome}
    others = {n: runs for n, runs in groups.items() if n not in bounds and n not in failed}
    if not others:
        return (
            "No method but floor and ceiling finished with every seed: there is nothing to "
            "recommend."
        )
    # Without a KL (a point posterior), MI (a flow) or a second test example there is no verdict.
    judged = {name: runs for name, runs in others.items() if any(verdicts([r]) for r in runs)}
    if not judged:
        return (
            "No method was judged: those that finished have no KL, no MI or a single test "
            f"{nouns.row}. Read IW-NLL, rec and samples."
        )
    used = {name: runs for name, runs in judged.items() if verdicts(runs) == "used"}
    if not used:
        best = max(judged, key=lambda name: mean(judged[name], "kl"))
        return (
            f"No method made z used with every seed. {best} comes closest, with a KL of "
            f"{mean(judged[best], 'kl'):.2f} nats: train longer, or try other methods."
        )
    best = min(used, key=lambda name: mean(used[name], "iw_nll"))
    words = [
        f"Take {best}: of {len(judged)} methods {len(used)} make z used with every seed, and of "
        f"these it has the lowest IW-NLL, {mean(used[best], 'iw_nll'):.2f} nats per {nouns.row} at "
        f"a KL of {mean(used[best], 'kl'):.2f}.",
        *_beside(best, used, groups, methods, nouns),
    ]
    left_out = [n for n in groups if n in failed and n not in bounds]
    if left_out:
        words.append(f"Left out, as not every seed finished: {', '.join(left_out)}.")
    words.append(f"To train it again: {command(used[best][0])}")
    return " ".join(words)


def _beside(
    best: str,
    used: dict[str, list[Outcome]],
    groups: dict[str, list[Outcome]],
    methods: Methods,
    nouns: Nouns,
) -> list[str]:
    """Compares the best method's IW-NLL with that of the others and of its floor."""
    words = []
    over = {name: paired(runs, used[best]) for name, runs in used.items() if name != best}
    # One example has no error.
    near = [n for n, d in over.items() if d is None or d.value < 2 * (d.se if d.se > 0 else 0)]
    if near:
        words.append(f"By IW-NLL alone it cannot be told from {', '.join(near)}.")
    for floor in methods.bounds(best)[:1]:
        if floor in groups:
            difference = paired(used[best], groups[floor])
            more = mean(used[best], "iw_nll") - mean(groups[floor], "iw_nll")
            size = plus_minus(abs(more), difference.se if difference else None)
            change = f"{size} nats {'more' if more > 0 else 'less'}"
            each = f", {nouns.row} by {nouns.row}" if difference else ""
            words.append(f"That is {change} than the {nouns.floor}'s ({floor}){each}.")
    return words


def command(outcome: Outcome) -> str:
    """Returns the command that trains a run again, by itself."""
    folder = outcome["folder"]
    options = [f"--config={folder}/config.json", f"--workdir={folder}-again"]
    experiment = f"jvae.experiments.{outcome['results']['corpus']}"
    return shlex.join(["python", "-m", experiment, *options])
