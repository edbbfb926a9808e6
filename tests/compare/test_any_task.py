"""A comparison of a task that is not text."""

import dataclasses
import io
import json
from types import SimpleNamespace

import pytest
from rich.console import Console

from jvae.compare.run import compare
from jvae.components import Group, default_config
from jvae.configs import option
from jvae.errors import UserError
from jvae.evaluation.metric import Column, Metric, Nouns, entry
from jvae.runs.directory import RESULTS, save_results
from jvae.runs.task import Method, Methods
from jvae.training.settings import TRAINING


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    width: int = option(3, "units", at_least=1)
    beta: float = option(1.0, "weight of the KL", at_least=0.0)


METRICS = (
    Metric(
        "size",
        frozenset(),
        compute=lambda evidence: {},
        columns=(
            Column("IW-NLL", entry("iw_nll"), 2, "nats per {row}", entry("iw_nll_se")),
            Column("over LM", entry("over_floor", "value"), 2, "against the {floor}"),
            Column("never", entry("never"), 2, "absent"),
        ),
    ),
)
METHODS = Methods(
    plain=lambda base: {"model.beta": 1.0},
    methods={
        "floor": Method("no latent", {"model.beta": 0.0}),
        "plain": Method("nothing changed", {}),
        "half": Method("half the KL", {"model.beta": 0.5}),
        "wrong": Method("refused", {"model.beta": -1.0}),
    },
    bounds=lambda name: ("floor",),
    default=("plain",),
)


def toy(**changes):
    fields = {
        "name": "toy",
        "nouns": Nouns("picture", "pixel", floor="histogram"),
        "groups": (Group("model", ModelOptions), TRAINING),
        "load": lambda config: SimpleNamespace(source="pictures", resources="sizes"),
        "metrics": METRICS,
        "methods": METHODS,
    }
    return SimpleNamespace(**fields | changes)


NLL = {"floor": 31.0, "plain": 30.5, "half": 30.0}


def run(task, config, folder, console, *, source, resources, phases):
    assert (source, resources) == ("pictures", "sizes")
    method = folder.parent.name
    results = {"iw_nll": NLL[method] + config.training.seed, "rec": 20.0, "kl": config.model.beta}
    results |= {"iw_nll_each": [NLL[method], NLL[method] + 2], "corpus": "digits", "best_epoch": 1}
    label = "" if method == "floor" else "used"
    save_results(folder, results | {"verdict": {"label": label}}, RESULTS)


def compared(task, names, folder, seeds=(0, 1)):
    shown = io.StringIO()
    base = default_config(task.groups)
    base.model.width, base.model.beta = 5, 0.7
    runs = compare(task, base, names, seeds, folder, Console(file=shown, width=200), run=run)
    return runs, shown.getvalue()


def test_methods_of_any_task_are_compared(tmp_path):
    runs, shown = compared(toy(), ["plain", "half"], tmp_path)
    assert [(one["method"], one["seed"]) for one in runs] == [
        (name, seed) for seed in (0, 1) for name in ("floor", "plain", "half")
    ]
    assert shown.startswith(
        "left out of the base, as every method starts from a plain VAE: model.b"
    )
    assert [one["results"]["kl"] for one in runs[:3]] == [0.0, 1.0, 0.5]
    assert "floor, seed 0: IW-NLL 31.00  s 0\n" in shown
    assert "half, seed 1: IW-NLL 31.00  s 0\n" in shown
    assert "30.50 nats per picture" in shown
    assert "than the histogram's (floor), picture by picture." in shown
    page = (tmp_path / "report.html").read_text()
    assert "<td>half</td><td>30.50 ± 0.71</td><td>-1.00 ± 0.00</td>" in page
    assert "against the histogram" in page and "Nats per picture." in page
    assert "<b>half</b>: half the KL" in page and "never" not in page
    stored = json.loads((tmp_path / "comparison.json").read_text())
    assert stored["runs"][2]["results"]["over_floor"] == {"value": -1.0, "se": 0.0}


def test_a_refused_method_is_named_and_a_task_without_methods_too(tmp_path):
    with pytest.raises(UserError, match="method wrong: model.beta = -1.0 must be at least 0"):
        compared(toy(), ["wrong"], tmp_path / "runs")
    with pytest.raises(UserError, match="the task toy has no methods to compare"):
        compared(toy(methods=None), ["plain"], tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
