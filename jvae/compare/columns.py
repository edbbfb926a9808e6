"""The table of a comparison: its columns, its rows and what its marks mean."""

import statistics
from collections.abc import Sequence

from jvae.compare.outcomes import Outcome, by_method, verdicts, with_times
from jvae.evaluation.evaluate import columns as columns_of_metrics
from jvae.evaluation.metric import Column, Metric, Nouns, entry, plus_minus

ABSENT = "-"  # the model does not define the number
ESTIMATED = "~ before a KL: an estimate from one z of each example; others are in closed form."
OVER_SEEDS = "± is the standard deviation over seeds."
OVER_EXAMPLES = "± is the standard error of IW-NLL and of its difference over examples: one seed."
OVER_BOTH = (
    "± is the standard deviation over seeds; where one seed alone finished, the standard error of "
    "IW-NLL over examples."
)


SECONDS = Column("s", entry("seconds"), 0, "seconds of training, earlier phases included")
TO_BEST = Column("s to best", entry("seconds_to_best"), 0, "until the epoch that is reported")


def columns(metrics: Sequence[Metric], nouns: Nouns) -> tuple[Column, ...]:
    """Returns the columns of metrics, with seconds and seconds to the best epoch."""
    return (*columns_of_metrics(metrics, nouns), SECONDS, TO_BEST)


def defined(columns: Sequence[Column], outcomes: Sequence[Outcome]) -> tuple[Column, ...]:
    """Returns the columns in which some run has a number."""
    every = [with_times(run) for runs in by_method(outcomes).values() for run in runs]
    return tuple(c for c in columns if any(c.value(results) is not None for results in every))


def line(outcome: Outcome, columns: Sequence[Column]) -> str:
    """Describes a finished run in one line."""
    head = f"{outcome['method']}, seed {outcome['seed']}:"
    if "error" in outcome:
        return f"{head} failed: {outcome['error']}"
    results = with_times(outcome)
    values = [(column, column.value(results)) for column in columns if column is not TO_BEST]
    shown = [f"{c.name} {value:.{c.digits}f}" for c, value in values if value is not None]
    return f"{head} {'  '.join(shown)}"


def cell(column: Column, runs: Sequence[Outcome]) -> str:
    """Writes mean ± standard deviation over seeds, or one seed's number ± its standard error."""
    known = [
        (value, results)
        for results in map(with_times, runs)
        if (value := column.value(results)) is not None
    ]
    if not known:
        return ABSENT
    values = [value for value, _ in known]
    error = statistics.stdev(values) if len(values) > 1 else column.error(known[0][1])
    closed = all(run["results"].get("kl_analytic", True) for run in runs)
    mark = "~" if column.name == "KL" and not closed else ""
    return mark + plus_minus(statistics.mean(values), error, column.digits)


def rows(outcomes: Sequence[Outcome], columns: Sequence[Column]) -> list[list[str]]:
    """Returns for each method its name, numbers and verdict, or why it has none."""
    groups, table = by_method(outcomes), []
    for name in dict.fromkeys(outcome["method"] for outcome in outcomes):
        runs = groups.get(name, [])
        seeds = [outcome for outcome in outcomes if outcome["method"] == name]
        if runs:
            part = f" ({len(runs)} of {len(seeds)} seeds)" if len(runs) < len(seeds) else ""
            table.append([name + part, *(cell(c, runs) for c in columns), verdicts(runs) or ABSENT])
        else:
            table.append([name, *[""] * len(columns), f"failed: {seeds[0]['error']}"])
    return table


def captions(outcomes: Sequence[Outcome], columns: Sequence[Column]) -> list[str]:
    """Explains those marks that the table has."""
    groups = by_method(outcomes)
    cells = [cell(c, runs) for runs in groups.values() for c in columns]
    seeds = {len(runs) for runs in groups.values()}
    notes = []
    if any("±" in text for text in cells):
        notes = [OVER_EXAMPLES if seeds == {1} else OVER_BOTH if 1 in seeds else OVER_SEEDS]
    splits = {run["results"].get("split", "test") for runs in groups.values() for run in runs}
    notes += [f"Of the split {split}." for split in sorted(splits - {"test"})]
    return notes + [ESTIMATED] * any(text.startswith("~") for text in cells)
