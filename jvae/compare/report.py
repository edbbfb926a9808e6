"""Reports a comparison: a table, pictures, a page of HTML that needs nothing else, conclusions."""

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jvae import plots
from jvae.compare.advice import recommendation
from jvae.compare.columns import ABSENT, captions, columns, defined, line, rows
from jvae.compare.methods import method
from jvae.compare.outcomes import Outcome, by_method, mean, with_differences
from jvae.evaluation.metric import Column, Nouns
from jvae.files import write_atomically
from jvae.runs.directory import save_results
from jvae.runs.task import Methods, Task

TABLE, PAGE = "comparison.json", "report.html"
OF_FIRST = "Curves, heat maps and examples are of each method's first seed that finished."
STYLE = """body{font:15px/1.5 sans-serif;max-width:75em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse}td,th{padding:.2em .7em;text-align:right;vertical-align:top}
td:first-child,th:first-child,.words td{text-align:left}tr+tr{border-top:1px solid #ddd}
img{max-width:100%}"""

Pictures = Callable[[Sequence[Outcome], Path], Mapping[str, str]]


class Form(NamedTuple):
    """The form of a report.

    Attributes:
      methods: that may be compared.
      nouns: of the task.
      columns: of the table; those without a number are left out.
      conclude: outcomes -> conclusions, a line each.
      draw: `(outcomes, folder) -> title of each picture that it draws there -> file name`.
    """

    methods: Methods
    nouns: Nouns
    columns: tuple[Column, ...]
    conclude: Callable[[Sequence[Outcome]], list[str]]
    draw: Pictures


def form_of(task: Task, methods: Methods) -> Form:
    """Returns the form of a task's report: its metrics, a recommendation and training curves."""
    return Form(
        methods,
        task.nouns,
        columns(task.metrics, task.nouns),
        lambda outcomes: [recommendation(outcomes, methods, task.nouns)],
        draw_training,
    )


def write(form: Form, outcomes: Sequence[Outcome], workdir: Path, console: Console) -> None:
    """Writes the table and the conclusions with pictures and examples, and prints them."""
    outcomes = with_differences(outcomes, form.methods.bounds)
    form = form._replace(columns=defined(form.columns, outcomes))
    conclusions = form.conclude(outcomes)
    failures = [line(outcome, form.columns) for outcome in outcomes if "error" in outcome]
    folder = workdir / "plots"
    folder.mkdir(exist_ok=True)
    pictures = {title: folder / name for title, name in form.draw(outcomes, folder).items()}
    write_atomically(workdir / PAGE, _page(form, outcomes, conclusions, failures, pictures))
    save_results(workdir, {"runs": list(outcomes), "conclusions": conclusions}, TABLE)
    text = io.StringIO()  # whole lines, however narrow the terminal
    Console(file=text, width=300).print(_table(form, outcomes))
    for words in (text.getvalue(), *captions(outcomes, form.columns), *failures, *conclusions):
        console.print(words, markup=False, highlight=False, soft_wrap=True)
    console.print(f"everything is in {workdir}: open {PAGE}", highlight=False, soft_wrap=True)


def _body(form: Form, outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    """Returns the head and the rows of the table, without verdicts where no run has one."""
    head, body = ["method", *(column.name for column in form.columns), "z"], []
    table = rows(outcomes, form.columns)
    if all(row[-1] == ABSENT or row[-1].startswith("failed:") for row in table):
        # A failure still says why.
        head[-1], body = "", [[*row[:-1], row[-1].removeprefix(ABSENT)] for row in table]
    return head, body or table


def _table(form: Form, outcomes: Sequence[Outcome]) -> Table:
    head, body = _body(form, outcomes)
    table = Table(box=box.SIMPLE)
    table.add_column(head[0], no_wrap=True)
    for name in head[1:-1]:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(head[-1], max_width=60)
    for row in body:
        table.add_row(*map(escape, row))
    return table


def draw_training(outcomes: Sequence[Outcome], folder: Path) -> dict[str, str]:
    """Draws rate and distortion, validation curves and the KL of each dimension.

    Args:
      outcomes: of all methods; curves are those of the first seed that finished.
      folder: of the pictures.

    Returns:
      Title -> file name.
    """
    groups = by_method(outcomes)
    curves = {name: _without_bound(runs[0]) for name, runs in groups.items()}
    plots.method_curves(curves, folder / "curves.png")
    points = {
        name: [(x["kl"], x["rec"]) for x in (run["results"] for run in runs) if "kl" in x]
        for name, runs in groups.items()
    }
    levels = {
        name: mean(runs, "rec") for name, runs in groups.items() if "kl" not in runs[0]["results"]
    }
    plots.rate_distortion(points, levels, folder / "rate_distortion.png")
    shown = {"Rate and distortion": "rate_distortion.png", "Over training": "curves.png"}
    for name, runs in groups.items():
        history = runs[0]["history"]
        if any(any(record.get("kl_per_dim", [])) for record in history):
            plots.kl_heat_map(history, folder / f"kl_{name}.png")
            shown[f"KL of each dimension over training, {name}"] = f"kl_{name}.png"
    return shown


def _without_bound(outcome: Outcome) -> list[dict[str, Any]]:
    """Returns a history; of a point posterior the active units alone: its ELBO is no bound."""
    if "kl" in outcome["results"]:
        return list(outcome["history"])
    return [{key: record.get(key) for key in ("epoch", "au")} for record in outcome["history"]]


def _page(
    form: Form,
    outcomes: Sequence[Outcome],
    conclusions: Sequence[str],
    failures: Sequence[str],
    pictures: Mapping[str, Path],
) -> str:
    groups, (head, body) = by_method(outcomes), _body(form, outcomes)
    reads = ["", *(column.reads for column in form.columns), ""]
    heads = "".join(
        f"<th title='{html.escape(text)}'>{html.escape(name)}</th>"
        for name, text in zip(head, reads, strict=True)
    )
    columns = _list({column.name: column.reads for column in form.columns})
    methods = _list({name: method(form.methods, name).about for name in groups})
    one_of = OF_FIRST if any(outcome["seed"] != outcomes[0]["seed"] for outcome in outcomes) else ""
    images = "".join(
        f"<h2>{html.escape(title)}</h2><img alt='{html.escape(title)}' src='data:image/png;base64,"
        f"{base64.b64encode(path.read_bytes()).decode()}'>"
        for title, path in pictures.items()
    )
    notes = " ".join([*captions(outcomes, form.columns), one_of])
    words = "".join(f"<p>{html.escape(text)}</p>" for text in (*conclusions, *failures))
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>jvae compare</title>
<style>{STYLE}</style>
<h1>Methods compared</h1>{words}
<table><tr>{heads}</tr>{"".join(map(_row, body))}</table>
<p>Nats per {form.nouns.row}. {html.escape(notes, quote=False)}</p>
{columns}{methods}{images}
{_examples(groups)}</html>
"""


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in cells) + "</tr>"


def _list(entries: Mapping[str, str]) -> str:
    items = (
        f"<li><b>{html.escape(name)}</b>: {html.escape(text)}</li>"
        for name, text in entries.items()
    )
    return f"<ul>{''.join(items)}</ul>"


def _examples(groups: Mapping[str, Sequence[Outcome]]) -> str:
    """Shows what the task displays of each run side by side, one table for each key of "shown".

    Lists of texts stand beside each other. In a list of dictionaries the first entry, such as a
    sentence, is common to all methods, and the last one, such as its reconstruction, is the
    method's. In a dictionary the first list counts.
    """
    shown = {name: runs[0]["results"].get("shown") or {} for name, runs in groups.items()}
    parts = []
    for key in dict.fromkeys(key for of_method in shown.values() for key in of_method):
        columns: dict[str, list[str]] = {}
        for name, of_method in shown.items():
            found = of_method.get(key) or []
            if isinstance(found, dict):
                found = next((value for value in found.values() if isinstance(value, list)), [])
            if found and isinstance(found[0], dict):
                common, *_, last = found[0]
                columns.setdefault(common, [str(pair[common]) for pair in found])
                found = [pair[last] for pair in found]
            if found:
                columns[name] = list(map(str, found))
        if columns:
            parts.append(_side_by_side(key.replace("_", " ").capitalize(), columns))
    return f"<h2>Examples</h2>{''.join(parts)}" if parts else ""


def _side_by_side(title: str, columns: Mapping[str, Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(map(_row, zip(*columns.values(), strict=False)))
    return f"<h3>{html.escape(title)}</h3><table class='words'><tr>{head}</tr>{body}</table>"
