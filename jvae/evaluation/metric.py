"""The declaration of a metric: what it asks for, what it computes, and how it is shown.

The terminal table, the columns of a comparison, the line of an epoch, `results.json` and the table
in the docs all come from here.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jvae.evaluation.evidence import Evidence

Results = Mapping[str, Any]


class Nouns(NamedTuple):
    """Words of a task for what is counted.

    Attributes:
      row: an example: "sentence".
      symbol: what is predicted: "token".
      counted: a remark on which symbols count, for perplexities; "" for none.
      floor: the model that has no latent, whose NLL a latent should not exceed.
    """

    row: str
    symbol: str
    counted: str = ""
    floor: str = "model without a latent"

    def put(self, text: str) -> str:
        """Fills the words into "{row}", "{symbol}" and "{floor}"."""
        return text.format(**self._asdict())


Text = Callable[[Results, Nouns], str]


class Row(NamedTuple):
    """A row of the terminal table.

    Attributes:
      key: of the results, without which there is no row.
      name: `(results, nouns) -> first column`, or the text itself.
      text: `(results, nouns) -> the number in words`; "" for no row.
      note: `(results, nouns) -> last column`, or the text itself, which may contain "{row}",
        "{symbol}" and "{floor}", see `Nouns`.
    """

    key: str
    name: Text | str
    text: Text
    note: Text | str


class Column(NamedTuple):
    """A column of a comparison.

    Attributes:
      name: its head.
      value: results of a run -> number, or None where the model defines none.
      digits: after the point.
      reads: what the number should look like; it may contain "{row}", "{symbol}" and "{floor}".
      error: results -> its standard error over examples, or None.
    """

    name: str
    value: Callable[[Results], float | None]
    digits: int
    reads: str
    error: Callable[[Results], float | None] = lambda results: None


class Key(NamedTuple):
    """A key of `results.json`, for the docs.

    Attributes:
      key: dotted; several with commas.
      name: as tables call it.
      definition: one sentence, with the equation.
      needs: capabilities beside the metric's.
    """

    key: str
    name: str
    definition: str
    needs: frozenset[str] = frozenset()


class Metric(NamedTuple):
    """One metric, or several that come from one computation.

    Attributes:
      name: of the metric.
      needs: capabilities of the model's distributions without which it is not computed: names of
        fields of `jvae.evaluation.offers.Offers`, or those that a family adds.
      compute: evidence -> entries of `results.json`; numbers that the model does not define are
        absent.
      rows: of the terminal table.
      columns: of a comparison.
      keys: of `results.json`.
      validation: evidence, whatever the model offers -> entries of `metrics.jsonl`, after each
        epoch; None where it costs too much.
      progress: record of an epoch -> part of its line on the terminal; "" for none.
    """

    name: str
    needs: frozenset[str]
    compute: Callable[["Evidence"], dict[str, Any]]
    rows: tuple[Row, ...] = ()
    columns: tuple[Column, ...] = ()
    keys: tuple[Key, ...] = ()
    validation: Callable[["Evidence"], dict[str, Any]] | None = None
    progress: Callable[[Mapping[str, Any]], str] = lambda record: ""


def entry(*path: str) -> Callable[[Results], Any]:
    """Makes a function of results that returns an entry by its path, or None."""

    def value(results: Results) -> Any:
        found: Any = results
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    return value


def fixed(key: str, digits: int = 2) -> Text:
    """Makes the text of a number with so many digits after the point."""
    return lambda results, nouns: f"{results[key]:.{digits}f}"


def with_error(key: str) -> Text:
    """Makes the text of a number and its standard error, which is at `key` + "_se"."""
    return lambda results, nouns: plus_minus(results[key], results.get(f"{key}_se"))


def plus_minus(value: float, error: float | None, digits: int = 2) -> str:
    """Writes `value ± error`, or the value alone: one example has no error bar."""
    known = error is not None and math.isfinite(error)
    return f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if known else "")
