"""What a comparison shows: one table, pictures, a page of HTML that needs nothing else, advice."""

import base64
import html
import io
import shlex
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jvae import plots
from jvae.experiments.methods import BOUNDS, bounds, method
from jvae.experiments.outcomes import (
    Outcome,
    by_method,
    mean,
    paired,
    verdicts,
    with_differences,
)
from jvae.experiments.report import plus_minus, save_results
from jvae.training.logs import write_atomically

TABLE, PAGE = "comparison.json", "report.html"
ABSENT = "-"  # what the model does not define
ESTIMATED = "~ before a KL: estimated, from one z of each sentence; others are in closed form."
OVER_SEEDS = "± is the standard deviation over seeds."
OVER_SENTENCES = "± is the standard error of IW-NLL and of its difference over sentences: one seed."
OVER_BOTH = (
    "± is the standard deviation over seeds; where one seed alone finished, the standard error of "
    "IW-NLL over sentences."
)
OF_FIRST = "Curves, heat maps and sentences are of each method's first seed that finished."


class Column(NamedTuple):
    """A column of the table.

    Attributes:
      name: its head.
      value: outcome -> figure, or None where the model defines none.
      digits: after the point.
      reads: what the figure should look like.
      error: outcome -> its standard error over sentences, where it has one.
    """

    name: str
    value: Callable[[Outcome], float | None]
    digits: int
    reads: str
    error: Callable[[Outcome], float | None] = lambda outcome: None


def result(*path: str) -> Callable[[Outcome], float | None]:
    """A figure of the results, by the names on its way."""

    def value(outcome: Outcome) -> float | None:
        found = outcome["results"]
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    return value


def seconds(outcome: Outcome) -> float:
    """Of training, an autoencoder's before it too."""
    return _pretraining(outcome) + sum(record["seconds"] for record in outcome["history"])


def _pretraining(outcome: Outcome) -> float:
    """Of this method alone, although others may share it."""
    return float(outcome["results"].get("pretrain_seconds", 0.0))


def _seconds_to_best(outcome: Outcome) -> float:
    best = outcome["results"]["best_epoch"]
    epochs = [record["seconds"] for record in outcome["history"] if record["epoch"] <= best]
    return _pretraining(outcome) + sum(epochs)


COLUMNS = (
    Column(
        "IW-NLL",
        result("iw_nll"),
        2,
        "nats per sentence; at or below its language model's",
        result("iw_nll_se"),
    ),
    Column(
        "over LM",
        result("over_floor", "value"),
        2,
        "IW-NLL over its language model's, sentence by sentence; at or below 0",
        result("over_floor", "se"),
    ),
    Column("PPL", result("ppl_iw"), 1, "of IW-NLL, per predicted token"),
    Column(
        "-ELBO",
        lambda o: _negative(result("elbo")(o)),
        2,
        "of all sentences; IW-NLL may be of the first only",
    ),
    Column("rec", result("rec"), 2, "between its language model's NLL and its autoencoder's"),
    Column("KL", result("kl"), 2, "above 0: what the encoder says about a sentence"),
    Column("MI", result("mi_corpus", "value"), 2, "close to KL: what z tells sentences apart by"),
    Column("AU", result("au"), 1, "many of the latent's dimensions"),
    Column("MMD^2", result("mmd", "value"), 4, "about 0: all z together look like the prior"),
    Column("s", seconds, 0, "seconds of training, an autoencoder's before it too"),
    Column("s to best", _seconds_to_best, 0, "until the epoch that is reported"),
)


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def line(outcome: Outcome, columns: Sequence[Column] = COLUMNS[:-1]) -> str:
    """A finished run in one line."""
    head = f"{outcome['method']}, seed {outcome['seed']}:"
    if "error" in outcome:
        return f"{head} failed: {outcome['error']}"
    figures = [(column, column.value(outcome)) for column in columns]
    shown = [f"{c.name} {value:.{c.digits}f}" for c, value in figures if value is not None]
    return f"{head} {'  '.join(shown)}"


def cell(column: Column, runs: Sequence[Outcome]) -> str:
    """Mean over seeds ± standard deviation; for one seed's NLL ± standard error over sentences."""
    values = [value for run in runs if (value := column.value(run)) is not None]
    if not values:
        return ABSENT
    error = statistics.stdev(values) if len(values) > 1 else None
    if len(values) == 1:
        error = next(column.error(run) for run in runs if column.value(run) is not None)
    closed = all(run["results"].get("kl_analytic", True) for run in runs)
    mark = "~" if column.name == "KL" and not closed else ""
    return mark + plus_minus(statistics.mean(values), error, column.digits)


def rows(outcomes: Sequence[Outcome], columns: Sequence[Column] = COLUMNS) -> list[list[str]]:
    """For each method its name, figures and verdict, or why it has none."""
    groups, found = by_method(outcomes), []
    for name in dict.fromkeys(outcome["method"] for outcome in outcomes):
        runs = groups.get(name, [])
        seeds = [outcome for outcome in outcomes if outcome["method"] == name]
        if runs:
            part = f" ({len(runs)} of {len(seeds)} seeds)" if len(runs) < len(seeds) else ""
            found.append([name + part, *(cell(c, runs) for c in columns), verdicts(runs) or ABSENT])
        else:
            found.append([name, *[""] * len(columns), f"failed: {seeds[0]['error']}"])
    return found


def captions(outcomes: Sequence[Outcome], columns: Sequence[Column] = COLUMNS) -> list[str]:
    """What the marks of the table mean, of those that it has."""
    cells = [cell(c, runs) for runs in by_method(outcomes).values() for c in columns]
    seeds = {len(runs) for runs in by_method(outcomes).values()}
    found = []
    if any("±" in text for text in cells):
        found = [OVER_SENTENCES if seeds == {1} else OVER_BOTH if 1 in seeds else OVER_SEEDS]
    of_all = [run for runs in by_method(outcomes).values() for run in runs]
    splits = {run["results"].get("split", "test") for run in of_all}
    found += [f"Of the split {split}." for split in sorted(splits - {"test"})]
    return found + [ESTIMATED] * any(text.startswith("~") for text in cells)


def recommendation(outcomes: Sequence[Outcome]) -> str:
    """Which method to take, and why: the lowest IW-NLL among those that use z with every seed."""
    groups = by_method(outcomes)
    failed = {outcome["method"] for outcome in outcomes if "error" in outcome}
    others = {n: runs for n, runs in groups.items() if n not in BOUNDS and n not in failed}
    if not others:
        return (
            "No method but floor and ceiling finished with every seed: there is nothing to "
            "recommend."
        )
    # Without a KL (a point posterior), MI (a flow) or a second test sentence there is no verdict.
    judged = {name: runs for name, runs in others.items() if any(verdicts([r]) for r in runs)}
    if not judged:
        return (
            "No method was judged: those that finished have no KL, no MI or a single test "
            "sentence. Read IW-NLL, rec and samples."
        )
    used = {name: runs for name, runs in judged.items() if verdicts(runs) == "used"}
    if not used:
        best = max(judged, key=lambda name: mean(judged[name], "kl"))
        return (
            f"No method made z used with every seed. {best} comes closest, with a KL of "
            f"{mean(judged[best], 'kl'):.2f} nats: train longer, or try other methods."
        )
    best = min(used, key=lambda name: mean(used[name], "iw_nll"))
    nll = mean(used[best], "iw_nll")
    words = [
        f"Take {best}: of {len(judged)} methods {len(used)} make z used with every seed, and of "
        f"these it has the lowest IW-NLL, {nll:.2f} nats per sentence at a KL of "
        f"{mean(used[best], 'kl'):.2f}."
    ]
    over = {name: paired(runs, used[best]) for name, runs in used.items() if name != best}
    # One sentence has no error.
    near = [n for n, d in over.items() if d is None or d.value < 2 * (d.se if d.se > 0 else 0)]
    if near:
        words.append(f"By IW-NLL alone it cannot be told from {', '.join(near)}.")
    floor = bounds(best)[0]
    if floor in groups:
        difference = paired(used[best], groups[floor])
        more = nll - mean(groups[floor], "iw_nll")
        size = plus_minus(abs(more), difference.se if difference else None)
        figure = f"{size} nats {'more' if more > 0 else 'less'}"
        by_sentence = ", sentence by sentence" if difference else ""
        words.append(f"That is {figure} than the language model's ({floor}){by_sentence}.")
    left_out = [n for n in groups if n in failed and n not in BOUNDS]
    if left_out:
        words.append(f"Left out, as not every seed finished: {', '.join(left_out)}.")
    words.append(f"To train it again: {command(used[best][0])}")
    return " ".join(words)


def command(outcome: Outcome) -> str:
    """What trains a run again, by itself."""
    folder = outcome["folder"]
    options = [f"--config={folder}/config.json", f"--workdir={folder}-again"]
    experiment = f"jvae.experiments.{outcome['results']['corpus']}"
    return shlex.join(["python", "-m", experiment, *options])


def write(outcomes: Sequence[Outcome], workdir: Path, console: Console) -> None:
    """Prints the table and the advice, and writes them with pictures and sentences."""
    outcomes = with_differences(outcomes)
    groups, advice = by_method(outcomes), recommendation(outcomes)
    failures = [outcome for outcome in outcomes if "error" in outcome]
    table = Table(box=box.SIMPLE)
    table.add_column("method", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column.name, justify="right", no_wrap=True)
    table.add_column("z", max_width=60)
    for row in rows(outcomes):
        table.add_row(*map(escape, row))
    text = io.StringIO()  # whole lines, however narrow the terminal
    Console(file=text, width=300).print(table)
    console.print(text.getvalue(), markup=False, highlight=False, soft_wrap=True)
    for caption in captions(outcomes):
        console.print(caption, highlight=False, soft_wrap=True)
    for outcome in failures:
        console.print(line(outcome), markup=False, highlight=False, soft_wrap=True)
    console.print(advice, markup=False, highlight=False, soft_wrap=True)

    pictures = workdir / "plots"
    pictures.mkdir(exist_ok=True)
    histories = {name: runs[0]["history"] for name, runs in groups.items()}
    bounded = {name: _of_bound(runs[0]) for name, runs in groups.items()}
    plots.method_curves(bounded, pictures / "curves.png")
    points = {
        name: [(x["kl"], x["rec"]) for x in (run["results"] for run in runs) if "kl" in x]
        for name, runs in groups.items()
    }
    levels = {
        name: mean(runs, "rec") for name, runs in groups.items() if "kl" not in runs[0]["results"]
    }
    plots.rate_distortion(points, levels, pictures / "rate_distortion.png")
    shown = {"Rate and distortion": "rate_distortion.png", "Over training": "curves.png"}
    for name, history in histories.items():
        if any(any(record.get("kl_per_dim", [])) for record in history):
            plots.kl_heat_map(history, pictures / f"kl_{name}.png")
            shown[f"KL of each dimension over training, {name}"] = f"kl_{name}.png"
    write_atomically(workdir / PAGE, _page(outcomes, advice, pictures, shown))
    save_results(workdir, {"runs": list(outcomes), "recommendation": advice}, TABLE)
    console.print(f"everything is in {workdir}: open {PAGE}", highlight=False, soft_wrap=True)


def _of_bound(outcome: Outcome) -> list[dict[str, Any]]:
    """A history; of a point posterior the active units alone, as its logged ELBO is no bound."""
    if "kl" in outcome["results"]:
        return list(outcome["history"])
    return [{key: record.get(key) for key in ("epoch", "au")} for record in outcome["history"]]


def _page(outcomes: Sequence[Outcome], advice: str, pictures: Path, shown: dict[str, str]) -> str:
    groups = by_method(outcomes)
    failures = [outcome for outcome in outcomes if "error" in outcome]
    head = "".join(f"<th title='{html.escape(c.reads)}'>{c.name}</th>" for c in COLUMNS)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>"
        for row in rows(outcomes)
    )
    legend = "".join(f"<li><b>{c.name}</b>: {html.escape(c.reads)}</li>" for c in COLUMNS)
    methods = "".join(
        f"<li><b>{name}</b>: {html.escape(method(name).about)}</li>" for name in groups
    )
    one_of = OF_FIRST if any(outcome["seed"] != outcomes[0]["seed"] for outcome in outcomes) else ""
    failed = "".join(f"<p>{html.escape(line(outcome))}</p>" for outcome in failures)
    images = "".join(
        f"<h2>{html.escape(title)}</h2><img alt='{html.escape(title)}' src='data:image/png;base64,"
        f"{base64.b64encode((pictures / name).read_bytes()).decode()}'>"
        for title, name in shown.items()
    )
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>jvae compare</title>
<style>body{{font:15px/1.5 sans-serif;max-width:75em;margin:2em auto;padding:0 1em}}
table{{border-collapse:collapse}}td,th{{padding:.2em .7em;text-align:right;vertical-align:top}}
td:first-child,th:first-child,.words td{{text-align:left}}tr+tr{{border-top:1px solid #ddd}}
img{{max-width:100%}}</style>
<h1>Methods compared</h1><p>{html.escape(advice)}</p>{failed}
<table><tr><th>method</th>{head}<th>z</th></tr>{body}</table>
<p>Nats per sentence. {" ".join(captions(outcomes))} {one_of}</p>
<ul>{legend}</ul><ul>{methods}</ul>{images}
<h2>Sentences</h2>{_sentences(groups)}</html>
"""


def _sentences(groups: dict[str, list[Outcome]]) -> str:
    """Samples, reconstructions and interpolations of all methods, side by side."""
    examples = {name: runs[0]["results"].get("examples", {}) for name, runs in groups.items()}
    parts = []
    for title, key in (("From the prior", "prior_sampled"), ("Interpolated", "interpolation")):
        columns = {}
        for name, of_method in examples.items():
            found = of_method.get(key, [])
            columns[name] = found["sentences"] if isinstance(found, dict) else found
        parts.append(_side_by_side(title, {name: c for name, c in columns.items() if c}))
    pairs = {name: e["reconstructions"] for name, e in examples.items() if "reconstructions" in e}
    if pairs:
        first = next(iter(pairs.values()))
        columns = {"sentence": [pair["sentence"] for pair in first]}
        columns |= {name: [p["reconstruction"] for p in found] for name, found in pairs.items()}
        parts.append(_side_by_side("Reconstructed", columns))
    return "".join(parts)


def _side_by_side(title: str, columns: dict[str, list[str]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>"
        for row in zip(*columns.values(), strict=False)
    )
    return f"<h3>{title}</h3><table class='words'><tr>{head}</tr>{rows}</table>"
