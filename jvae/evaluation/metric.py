"""The declaration of a metric: what it asks for, what it computes, and how it is shown.

The terminal table, the columns of a comparison, the line of an epoch, `results.json` and the table
in the docs all come from here.
"""

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
    """

    row: str
    symbol: str
    counted: str = ""


class Row(NamedTuple):
    """A row of the terminal table, shown where its key is among the results.

    Attributes:
      key: of the results, dotted: "mi_batch.value".
      label: `(results, nouns) -> text` of the first column, or the text.
      text: `(results, nouns) -> text` of the number.
      note: `(results, nouns) -> text` of the last column, or the text.
    """

    key: str
    label: Callable[[Results, Nouns], str] | str
    text: Callable[[Results, Nouns], str]
    note: Callable[[Results, Nouns], str] | str


class Column(NamedTuple):
    """A column of a comparison.

    Attributes:
      name: its head.
      value: results of a run -> number, or None where the model defines none.
      digits: after the point.
      reads: what the number should look like.
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
      key: dotted.
      name: as tables call it.
      definition: one sentence, with the equation.
    """

    key: str
    name: str
    definition: str


class Metric(NamedTuple):
    """One metric, or several that come from one computation.

    Attributes:
      name: of the metric.
      needs: capabilities of the model's distributions without which it is not defined, see
        `jvae.evaluation.evidence.Offers`.
      compute: evidence -> entries of `results.json`.
      rows: of the terminal table.
      columns: of a comparison.
      keys: of `results.json`.
      validation: evidence -> entries of `metrics.jsonl`, after each epoch; None where it costs too
        much.
      progress: (record of an epoch) -> part of its line on the terminal; "" for none.
    """

    name: str
    needs: frozenset[str]
    compute: Callable[["Evidence"], dict[str, Any]]
    rows: tuple[Row, ...] = ()
    columns: tuple[Column, ...] = ()
    keys: tuple[Key, ...] = ()
    validation: Callable[["Evidence"], dict[str, Any]] | None = None
    progress: Callable[[Mapping[str, Any]], str] = lambda record: ""
