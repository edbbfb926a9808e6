"""What the comparison of sets of vectors shows: one table, pictures, and the paper's claims."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from jvae import plots
from jvae.experiments import compare_report
from jvae.experiments.compare_report import Column, captions, result, rows, seconds
from jvae.experiments.outcomes import Outcome, by_method
from jvae.experiments.report import save_results
from jvae.training.logs import write_atomically

TABLE, PAGE = "comparison.json", "report.md"
KEPT_BLEU = 0.95  # of VT's: below, reconstruction suffers
DROPPED = 2 / 3  # the share of vectors that the paper drops
USED_BLEU = 0.5  # of VT's: below, the latent says too little to be compared by what it generates


def vectors(outcome: Outcome) -> float:
    """Kept of each sentence; 1 where the latent is no set."""
    return float(outcome["results"].get("vectors", 1.0))


def share(outcome: Outcome) -> float:
    """Vectors per token, `</s>` counted, of the test split."""
    results = outcome["results"]
    if "vectors" in results:
        return float(results["vectors_share"])
    return float(results["sentences"] / results["tokens"])


COLUMNS = (
    Column("BLEU", result("quality", "reconstruction_bleu", "model"), 1, "of reconstructions"),
    Column(
        "exact", result("quality", "exact_match", "model"), 3, "share that comes back unchanged"
    ),
    Column("vectors", vectors, 2, "kept of each sentence"),
    Column("share", share, 3, "of a vector for each token, `</s>` counted"),
    Column("rec", result("rec"), 2, "nats per sentence"),
    Column("KL", result("kl"), 1, "nats per sentence, of the length too"),
    Column("ELBO", result("elbo"), 1, "nats per sentence, at weight 1"),
    Column("IW-NLL", result("iw_nll"), 1, "nats per sentence, an upper bound", result("iw_nll_se")),
    Column("F-PPL", result("quality", "forward_ppl", "model"), 1, "of samples, under real text's"),
    Column("R-PPL", result("quality", "reverse_ppl", "model"), 1, "of real text, under samples'"),
    Column("self-BLEU", result("quality", "self_bleu", "model"), 1, "of samples; 100: all equal"),
    Column("distinct-2", result("quality", "distinct_2", "model"), 3, "of samples"),
    Column("jump", result("quality", "jump", "model"), 3, "longest step of a way; 0.1 is best"),
    Column("path", result("quality", "path", "model"), 2, "length of a way; 1 is best"),
    Column("monotone", result("quality", "monotone", "model"), 3, "steps that do not lead away"),
    Column("PPL between", result("quality", "between_ppl", "model"), 1, "F-PPL along the ways"),
    Column("s", seconds, 0, "seconds of training"),
)


def line(outcome: Outcome) -> str:
    """A finished run in one line."""
    return compare_report.line(outcome, COLUMNS)


def _mean(runs: Sequence[Outcome], *path: str) -> float | None:
    """A figure of "quality" over seeds, or None if a run lacks it."""
    values = [result("quality", *path)(run) for run in runs]
    known = [value for value in values if value is not None]
    return statistics.mean(known) if len(known) == len(values) else None


def claims(outcomes: Sequence[Outcome]) -> list[str]:
    """Of each of three claims of the paper whether it holds here, with the figures."""
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
    full = _mean(groups["vt"], *bleu) or 0.0
    kept, shown = [1.0], []
    for name, runs in ours.items():
        own, left = _mean(runs, *bleu) or 0.0, statistics.mean(share(run) for run in runs)
        shown.append(f"{name} {own:.1f} with {left:.0%} of the vectors")
        if own >= KEPT_BLEU * full:
            kept.append(left)
    dropped = 1 - min(kept)
    verdict = "holds" if dropped >= DROPPED else "does not hold"
    fixed = [
        f"{name} {_mean(runs, *bleu) or 0.0:.1f} with {statistics.mean(map(share, runs)):.0%}"
        for name, runs in groups.items()
        if name.startswith("vts")
    ]
    beside = f" Dropped without a choice: {', '.join(fixed)}." if fixed else ""
    return (
        f"{verdict}. At most {dropped:.0%} are dropped at a BLEU of {KEPT_BLEU:.0%} of vt's "
        f"{full:.1f} or more: {', '.join(shown)}.{beside}"
    )


def _generation(groups: dict[str, list[Outcome]], ours: dict[str, list[Outcome]]) -> str:
    def both(runs: list[Outcome]) -> tuple[float | None, float | None]:
        return _mean(runs, "forward_ppl", "model"), _mean(runs, "reverse_ppl", "model")

    base = both(groups["vt"])
    better, shown = [], []
    for name, runs in ours.items():
        own = both(runs)
        if None in (*own, *base):
            continue
        shown.append(f"{name} {own[0]:.1f} and {own[1]:.1f}")
        better.append(all(a < b for a, b in zip(own, base, strict=True)))  # type: ignore[operator]
    if not better:
        return "not measured."
    return (
        f"{_count(sum(better), len(better))} F-PPL and R-PPL, both to be lower: vt "
        f"{base[0]:.1f} and {base[1]:.1f}, {', '.join(shown)}."
    )


def _smoothness(groups: dict[str, list[Outcome]], ours: dict[str, list[Outcome]]) -> str:
    def jump(runs: list[Outcome]) -> tuple[float, float] | None:
        """Mean and standard error: over seeds, of one seed over ways."""
        values = [result("quality", "jump", "model")(run) for run in runs]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        if len(known) > 1:
            return statistics.mean(known), statistics.stdev(known) / len(known) ** 0.5
        error = result("quality", "interpolation", "jump_se")(runs[0])
        return known[0], error if error is not None else float("inf")

    fixed = (name for name in groups if name == "vt" or name.startswith("vts"))
    rivals = {name: jump(groups[name]) for name in fixed}
    known = {name: found for name, found in rivals.items() if found is not None}
    smoother, shown = [], [f"{name} {value:.3f}" for name, (value, _) in known.items()]
    for name, runs in ours.items():
        own = jump(runs)
        if own is None:
            continue
        shown.append(f"{name} {own[0]:.3f}")
        errors = ((other, 2 * (error**2 + own[1] ** 2) ** 0.5) for other, error in known.values())
        smoother.append(all(other - own[0] > error for other, error in errors))
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


def write(outcomes: Sequence[Outcome], workdir: Path, console: Console) -> None:
    """Prints the table and the claims, and writes them with pictures."""
    groups, found = by_method(outcomes), claims(outcomes)
    text = _page(outcomes, found)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    write_atomically(workdir / PAGE, text)
    save_results(workdir, {"runs": list(outcomes), "claims": found}, TABLE)
    pictures = workdir / "plots"
    pictures.mkdir(exist_ok=True)
    columns = {column.name: column for column in COLUMNS}
    real = [_real(runs[0]) for runs in groups.values()][:1]
    for name, x, y, beside in (
        ("reconstruction", "share", "BLEU", {}),
        ("generation", "R-PPL", "F-PPL", {"real text": [point for point in real if point]}),
        ("fluency", "F-PPL", "BLEU", {}),
        ("coverage", "R-PPL", "BLEU", {}),
        ("smoothness", "jump", "PPL between", {}),
    ):
        points = {
            method: [
                (a, b)
                for run in runs
                if (a := columns[x].value(run)) is not None
                and (b := columns[y].value(run)) is not None
            ]
            for method, runs in groups.items()
        }
        of_x, of_y = (f"{which}: {columns[which].reads}" for which in (x, y))
        plots.methods_by(points | beside, of_x, of_y, pictures / f"{name}.png")
    console.print(f"everything is in {workdir}: open {PAGE}", highlight=False, soft_wrap=True)


def _real(outcome: Outcome) -> tuple[float, float] | None:
    """What real text has in place of the perplexities of samples; None if too unlikely for it."""
    quality = outcome["results"]["quality"]
    reverse, forward = quality["reverse_ppl"]["real"], quality["forward_ppl"]["real"]
    return None if reverse is None or forward is None else (reverse, forward)


def _page(outcomes: Sequence[Outcome], found: Sequence[str]) -> str:
    head = ["method", *(column.name for column in COLUMNS)]
    body = [row[:-1] for row in rows(outcomes, COLUMNS)]  # of sets there is no verdict
    table = [head, ["---"] + ["---:"] * len(COLUMNS), *body]
    lines = ["# Sets of vectors compared", ""]
    lines += ["| " + " | ".join(row) + " |" for row in table]
    lines += ["", *captions(outcomes, COLUMNS)]
    lines += [""] + [f"- {column.name}: {column.reads}" for column in COLUMNS]
    lines += [""] + [f"- {claim}" for claim in found]
    lines += [f"- {line(outcome)}" for outcome in outcomes if "error" in outcome]
    return "\n".join(lines) + "\n"
