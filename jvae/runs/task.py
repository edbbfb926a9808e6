"""The one registration of a kind of work: its configuration, data, model, metrics and displays.

`runs/` trains, evaluates and reports any task; it knows no model. Text, documents and whatever
comes next each register one `Task`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from jvae.batch import Batch
from jvae.components import Group
from jvae.data.batching import Buckets
from jvae.data.split import Split
from jvae.evaluation.metric import Metric, Nouns
from jvae.model import VAE
from jvae.objectives import Objective
from jvae.types import DType, Params, Schedule

if TYPE_CHECKING:
    from jvae.runs.directory import TrainedRun


@dataclasses.dataclass(frozen=True)
class Data:
    """A corpus as numbers.

    Attributes:
      name: of the corpus.
      splits: "train", "valid", "test" -> examples.
      buckets: chosen from the widths of all splits.
      notes: what was filtered, cut or dropped; one line each.
      fingerprint: of the content; a resumed run must find the same.
      resources: what the model is built from beside its configuration, such as a vocabulary.
      source: what the task itself keeps: texts, classes, names.
    """

    name: str
    splits: Mapping[str, Split]
    buckets: Buckets
    notes: tuple[str, ...]
    fingerprint: str
    resources: Any
    source: Any = None


class Resources(Protocol):
    """Keeps what a model is built from in a run directory."""

    def read(self, workdir: Path) -> Any:
        """Reads the resources of a run directory.

        Raises:
          UserError: a file is missing or damaged.
        """
        ...

    def files(self, resources: Any) -> Mapping[str, str]:
        """Returns what to write, by file name; a resumed run must find the same."""
        ...


class Load(Protocol):
    """Reads a corpus."""

    def __call__(
        self, config: Any, *, resources: Any = None, folder: Path | None = None, source: Any = None
    ) -> Data:
        """Reads the corpus that `config.data` names.

        Args:
          config: all of it.
          resources: of the run that goes on or is used; None to make them from the training split.
          folder: on whose disk streamed examples are kept.
          source: `Data.source` of an earlier call, or one that a caller made, instead of reading.

        Raises:
          UserError: the data or its options are at fault.
        """
        ...


class Phase(NamedTuple):
    """An ordinary run that comes before another, which takes some of its parameters.

    Attributes:
      name: of its directory below the run's, and of its lines on the terminal.
      config: of the phase.
      groups: parameter groups that are taken from its best epoch.
      about: one line, when it begins.
      done: one line, when it is over.
    """

    name: str
    config: Any
    groups: tuple[str, ...]
    about: str
    done: str


class Method(NamedTuple):
    """A training method of a comparison.

    Attributes:
      about: a few words.
      fields: dotted name of a configuration's field -> value.
    """

    about: str
    fields: Mapping[str, Any]


class Methods(NamedTuple):
    """The methods that a comparison may name.

    Attributes:
      plain: fields of a model without a remedy, from which each method differs in its own alone.
      methods: by name.
      bounds: method, or several joined by "+" -> names of the floor and ceiling that have its
        decoder, or nothing.
      default: names that are compared without a word of the user.
    """

    plain: Callable[[Any], Mapping[str, Any]]
    methods: Mapping[str, Method]
    bounds: Callable[[str], tuple[str, ...]]
    default: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Task:
    """A kind of work.

    Attributes:
      name: "text".
      nouns: of an example and a symbol, for messages and tables.
      groups: of its configuration: "data", "model", "objective", and the shared "training" and
        "evaluation".
      load: see `Load`.
      resources: see `Resources`.
      build: `(config, resources, dtype) -> model`; `dtype` rounds the factors of training's
        products.
      example: `(config, resources) -> batch`, the smallest one, for the shapes of parameters.
      objective: `(config, model, resources, dtype) -> objective`.
      schedules: `(config, steps per epoch) -> schedules`, by name, what the objective asks for.
      score: `(config, validation metrics) -> number`, highest in the best epoch.
      metrics: what evaluation reports, in the order of its table.
      show: see `Show`.
      check_data: `(config, data)`, raises a UserError where the model cannot take the data.
      start: `(config, model, params, data) -> params`, what the data say before training.
      phases: `(config) -> phases` that come first.
      states: `(config, width) -> number`, floats that a decoder holds of an example and a sample
        beside its outputs; for memory.
      outputs: `(resources) -> number`, floats of a decoder's output for one symbol; for memory.
      split_axes: arrays that may be spread over devices, by name, and the axis that is cut.
      same: dotted fields that a run which starts from another's parameters must share with it.
      methods: of comparisons; None where there are none.
      interface: run -> what `jvae.load_run` gives in Python.
    """

    name: str
    nouns: Nouns
    groups: tuple[Group, ...]
    load: Load
    resources: Resources
    build: Callable[[Any, Any, DType], VAE]
    example: Callable[[Any, Any], Batch]
    objective: Callable[[Any, VAE, Any, DType], Objective]
    schedules: Callable[[Any, int], Mapping[str, Schedule]]
    score: Callable[[Any, Mapping[str, Any]], float]
    metrics: tuple[Metric, ...]
    show: "Show"
    check_data: Callable[[Any, Data], None] = lambda config, data: None
    start: Callable[[Any, VAE, Params, Data], Params] = lambda config, model, params, data: params
    phases: Callable[[Any], Sequence[Phase]] = lambda config: ()
    states: Callable[[Any, int], int] = lambda config, width: 0
    outputs: Callable[[Any], int] = lambda resources: 1
    split_axes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    same: tuple[str, ...] = ()
    methods: Methods | None = None
    interface: Callable[["TrainedRun"], Any] = lambda run: run


class Show(Protocol):
    """Shows a finished run beside its table of numbers."""

    def __call__(
        self,
        run: "TrainedRun",
        data: Data,
        split: str,
        results: Mapping[str, Any],
        terms: Any,
        console: Any,
        folder: Path,
    ) -> dict[str, Any]:
        """Prints examples and draws pictures of them into `folder`.

        Args:
          run: trained.
          data: its corpus.
          split: evaluated.
          results: the numbers.
          terms: per example (`jvae.evaluation.corpus.PosteriorTerms`).
          console: where it prints.
          folder: of the pictures; it exists.

        Returns:
          What is added to `results.json`, under "shown".
        """
        ...
