"""The report on sets of vectors: NVIB beside the baselines of its paper, and the paper's claims.

Henderson and Fehr (2023), A VAE for Transformers with Nonparametric Variational Information
Bottleneck.
"""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jvae import plots
from jvae.compare.columns import columns
from jvae.compare.outcomes import Outcome, by_method
from jvae.compare.report import Form, form_of
from jvae.evaluation.metric import Column, Results, entry
from jvae.runs.directory import load_run, read_json, save_results
from jvae.runs.task import Data, Task
from jvae.tasks.text.nvib_methods import NVIB

KEPT_BLEU = 0.95  # of VT's: below, reconstruction suffers
DROPPED = 2 / 3  # the share of vectors that the paper drops
USED_BLEU = 0.5  # of VT's: below, the latent says too little to be compared by what it generates


def vectors(results: Results) -> float:
    """Returns the vectors kept of each sentence, 1 where the latent is no set."""
    return float(results.get("vectors", 1.0))


def share(results: Results) -> float:
    """Returns the vectors per token of the split, `</s>` counted."""
    if "vectors" in results:
        return float(results["vectors_share"])
    return float(results["examples"] / results["symbols"])


QUALITY = (
    Column("BLEU", entry("quality", "reconstruction_bleu", "model"), 1, "of reconstructions"),
    Column("exact", entry("quality", "exact_match", "model"), 3, "share that comes back unchanged"),
    Column("vectors", vectors, 2, "kept of each sentence"),
    Column("share", share, 3, "of a vector for each token, `</s>` counted"),
    Column(
        "F-PPL", entry("quality", "forward_ppl", "model"), 1, "of samples, under real text's model"
    ),
    Column(
        "R-PPL",
        entry("quality", "reverse_ppl", "model"),
        1,
        "of real text, under the samples' model",
    ),
    Column("self-BLEU", entry("quality", "self_bleu", "model"), 1, "of samples; 100: all equal"),
    Column("distinct-2", entry("quality", "distinct_2", "model"), 3, "of samples"),
    Column("jump", entry("quality", "jump", "model"), 3, "longest step of a path; 0.1 is best"),
    Column("path", entry("quality", "path", "model"), 2, "length of a path; 1 is best"),
    Column("monotone", entry("quality", "monotone", "model"), 3, "steps that do not lead away"),
    Column("PPL between", entry("quality", "between_ppl", "model"), 1, "F-PPL along the paths"),
)


def nvib_form(task: Task) -> Form:
    """Returns the form of the report: quality beside the task's metrics, claims and pictures."""
    names = {column.name for column in QUALITY}
    others = [column for column in columns(task.metrics, task.nouns) if column.name not in names]
    form = form_of(task, NVIB)
    return form._replace(columns=(*QUALITY, *others), conclude=claims, draw=draw)


def measure(
    outcome: Outcome,
    data: Callable[[], Data],
    *,
    task: Task,
    base: ConfigDict,
    language_model: Path,
    number: int,
    pairs: int,
) -> dict[str, Any]:
    """Measures the sentences of a run, or reads the numbers of an earlier call.

    Args:
      outcome: a finished run.
      data: loads the corpus.
      task: text.
      base: whose sizes and length of training the reference language models have: the same for all
        runs, however long a method trains.
      language_model: directory of the language model of the training text, shared by all runs.
      number: of samples.
      pairs: of sentences, between which it interpolates.

    Returns:
      "quality": the numbers of `jvae.tasks.text.quality.measure`.
    """
    from jvae.tasks.text import quality as sentences
    from jvae.tasks.text.use import Decoding

    folder = Path(outcome["folder"])
    # A run that went on has other sentences, and so has another split.
    of = {name: outcome["results"][name] for name in ("best_epoch", "split")}
    asked = {"number": number, "pairs": pairs, **of}
    path = folder / sentences.QUALITY
    if not path.exists() or read_json(path).get("asked") != asked:
        run = load_run(folder, task)
        shared = {"resources": run.resources, "source": data().source}
        corpus = task.load(run.config, folder=folder, **shared)
        with open(folder / "output.txt", "a", encoding="utf-8") as shown:
            found = sentences.measure(
                run,
                corpus,
                Decoding(strategy="sample", max_length=0, allow_unk=True),
                number=number,
                reconstruction="greedy",
                pairs=pairs,
                seed=run.config.training.seed,
                say=partial(print, file=shown, flush=True),
                real=language_model,
                recipe=base,
            )
        save_results(folder, found | {"asked": asked}, sentences.QUALITY)
    # As it is read the next time, where a number that is not finite is none.
    return {"quality": read_json(path)}


def _mean(runs: Sequence[Outcome], *path: str) -> float | None:
    """Computes the mean of a number of "quality" over seeds, None if a run lacks it."""
    values = [entry("quality", *path)(run["results"]) for run in runs]
    known = [value for value in values if value is not None]
    return statistics.mean(known) if len(known) == len(values) else None


def claims(outcomes: Sequence[Outcome]) -> list[str]:
    """Says of three claims of the paper whether they hold here, with the numbers."""
    groups = by_method(outcomes)
    ours = {name: runs for name, runs in groups.items() if name.startswith("nvib")}
    if not ours or "vt" not in groups:
        return ["The claims need runs of vt and of nvib."]
    # Without z a decoder is a language model: fluent, but that is no merit of the latent.
    full = _mean(groups["vt"], "reconstruction_bleu", "model") or 0.0
    used = {
        name: runs
        for name, runs in ours.items()
        if (_mean(runs, "reconstruction_bleu", "model") or 0.0) >= USED_BLEU * full
    }
    out = ", ".join(name for name in ours if name not in used)
    beside = f" Left out, below {USED_BLEU:.0%} of vt's BLEU: {out}." if out else ""
    return [
        f"(a) Up to two thirds of the vectors are dropped before reconstruction suffers: "
        f"{_dropped(groups, ours)}",
        f"(b) It generates better than VT: {_generation(groups, used)}{beside}",
        f"(c) It interpolates more smoothly than VT and VTS: {_smoothness(groups, used)}{beside}",
    ]


def _dropped(groups: dict[str, list[Outcome]], ours: dict[str, list[Outcome]]) -> str:
    bleu = ("reconstruction_bleu", "model")

    def left(runs: list[Outcome]) -> float:
        return statistics.mean(share(run["results"]) for run in runs)

    full = _mean(groups["vt"], *bleu) or 0.0
    kept, shown = [1.0], []
    for name, runs in ours.items():
        score = _mean(runs, *bleu) or 0.0
        shown.append(f"{name} {score:.1f} with {left(runs):.0%} of the vectors")
        if score >= KEPT_BLEU * full:
            kept.append(left(runs))
    dropped = 1 - min(kept)
    verdict = "holds" if dropped >= DROPPED else "does not hold"
    fixed = [
        f"{name} {_mean(runs, *bleu) or 0.0:.1f} with {left(runs):.0%}"
        for name, runs in groups.items()
        if name.startswith("vts")
    ]
    beside = f" Dropped without a choice: {', '.join(fixed)}." if fixed else ""
    return (
        f"{verdict}. At most {dropped:.0%} are dropped at a BLEU of {KEPT_BLEU:.0%} of vt's "
        f"{full:.1f} or more: {', '.join(shown)}.{beside}"
    )


def _generation(groups: dict[str, list[Outcome]], ours: dict[str, list[Outcome]]) -> str:
    def both(runs: list[Outcome]) -> tuple[float, float] | None:
        forward, reverse = (_mean(runs, f"{name}_ppl", "model") for name in ("forward", "reverse"))
        return None if forward is None or reverse is None else (forward, reverse)

    base = both(groups["vt"])
    better, shown = [], []
    for name, runs in ours.items():
        pair = both(runs)
        if pair is None or base is None:
            continue
        shown.append(f"{name} {pair[0]:.1f} and {pair[1]:.1f}")
        better.append(pair[0] < base[0] and pair[1] < base[1])
    if base is None or not better:
        return "not measured."
    return (
        f"{_count(sum(better), len(better))} F-PPL and R-PPL, both to be lower: vt "
        f"{base[0]:.1f} and {base[1]:.1f}, {', '.join(shown)}."
    )


def _smoothness(groups: dict[str, list[Outcome]], ours: dict[str, list[Outcome]]) -> str:
    def jump(runs: list[Outcome]) -> tuple[float, float] | None:
        """Computes mean and standard error over seeds, or over one seed's paths."""
        values = [entry("quality", "jump", "model")(run["results"]) for run in runs]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        if len(known) > 1:
            return statistics.mean(known), statistics.stdev(known) / len(known) ** 0.5
        error = entry("quality", "interpolation", "jump_se")(runs[0]["results"])
        return known[0], error if error is not None else float("inf")

    fixed = (name for name in groups if name == "vt" or name.startswith("vts"))
    rivals = {name: jump(groups[name]) for name in fixed}
    known = {name: pair for name, pair in rivals.items() if pair is not None}
    smoother, shown = [], [f"{name} {value:.3f}" for name, (value, _) in known.items()]
    for name, runs in ours.items():
        length = jump(runs)
        if length is None:
            continue
        shown.append(f"{name} {length[0]:.3f}")
        smoother.append(
            all(
                other - length[0] > 2 * (error**2 + length[1] ** 2) ** 0.5
                for other, error in known.values()
            )
        )
    if not known or not smoother:
        return "not measured."
    return (
        f"{_count(sum(smoother), len(smoother))} jump, to be lower than each by two standard "
        f"errors: {', '.join(shown)}."
    )


def _count(holding: int, number: int) -> str:
    if holding == number:
        return "holds."
    return f"holds of {holding} of {number} settings." if holding else "does not hold."


def draw(outcomes: Sequence[Outcome], folder: Path) -> dict[str, str]:
    """Draws pairs of numbers, a point a run; returns the title and file name of each picture."""
    groups = by_method(outcomes)
    of = {column.name: column for column in QUALITY}
    real = [point for runs in list(groups.values())[:1] if (point := _real(runs[0]["results"]))]
    shown = {}
    for name, x, y, beside in (
        ("reconstruction", "share", "BLEU", {}),
        ("generation", "R-PPL", "F-PPL", {"real text": real}),
        ("fluency", "F-PPL", "BLEU", {}),
        ("coverage", "R-PPL", "BLEU", {}),
        ("smoothness", "jump", "PPL between", {}),
    ):
        points = {
            method: [
                (a, b)
                for run in runs
                if (a := of[x].value(run["results"])) is not None
                and (b := of[y].value(run["results"])) is not None
            ]
            for method, runs in groups.items()
        }
        of_x, of_y = (f"{which}: {of[which].reads}" for which in (x, y))
        plots.methods_by(points | beside, of_x, of_y, folder / f"{name}.png")
        shown[name.capitalize()] = f"{name}.png"
    return shown


def _real(results: Results) -> tuple[float, float] | None:
    """Returns the perplexities of real text in place of samples; None if one exceeds all floats."""
    reverse, forward = (
        entry("quality", f"{name}_ppl", "real")(results) for name in ("reverse", "forward")
    )
    return None if reverse is None or forward is None else (reverse, forward)
