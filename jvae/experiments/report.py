"""What a finished run shows: a table, sentences, pictures."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from jvae import plots
from jvae.evaluation.corpus import PosteriorTerms
from jvae.experiments.setup import TrainedRun
from jvae.experiments.use import Decoding, interpolate, reconstruct, sample_prior
from jvae.training.logs import write_atomically


def plus_minus(value: float, error: float | None, digits: int = 2) -> str:
    """`value ± error`, or the value alone: one sentence has no error bar."""
    known = error is not None and math.isfinite(error)
    return f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if known else "")


def table_rows(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(name, figure, what it says) for each number that the model defines."""
    r = results
    rows = []

    def add(name: str, key: str, text: str, note: str) -> None:
        if key in r:
            rows.append((name, text, note))

    def with_error(key: str) -> str:
        return plus_minus(r.get(key, 0), r.get(f"{key}_se"))

    samples = r.get("iw_samples", 0)
    part = r.get("iw_sentences", 0)
    some = "" if part == r["sentences"] else f", first {part} sentences"
    per_token = "per predicted token, </s> counted"
    add(f"IW-NLL({samples})", "iw_nll", with_error("iw_nll"), f"nats per sentence{some}")
    curve = r.get("k_curve", {"k": []})
    if some and curve["k"] and curve["k"][0] == 1 < samples:
        # What IW-NLL is to be compared with: the ELBO below is of all sentences.
        one = plus_minus(curve["nll"][0], curve["se"][0])
        rows.append(("  -ELBO of these", one, "K = 1, the same sentences"))
    if "iw_remaining" in r:
        left = r["iw_remaining"]
        change = plus_minus(-left["nll"], left["error"])
        rows.append(("  the rest", change, f"what going on to {left['samples']} samples would add"))
    add("PPL (IW)", "ppl_iw", _perplexity(r.get("ppl_iw", 0)), per_token)
    add("ELBO", "elbo", with_error("elbo"), "nats per sentence, KL weight 1")
    add("PPL (ELBO)", "ppl_elbo", _perplexity(r.get("ppl_elbo", 0)), per_token)
    add("rec", "rec", with_error("rec"), "nats per sentence")
    if r.get("latent_size", 0):
        how = "" if r.get("kl_analytic", True) else ", Monte Carlo, one z a sentence"
        add("KL", "kl", with_error("kl"), f"nats per sentence{how}")
        # In closed form they sum to the KL; NVIB's first two are what its paper weighs.
        of = "nats" if r.get("kl_analytic", True) else "nats, as training weighs it; no part of KL"
        for name, key, note in (
            ("  of Gaussians", "kl_gaussian", of),
            ("  of weights", "kl_dirichlet", of),
            ("  of the length", "kl_length", "nats, -log p(n) of the vectors kept"),
        ):
            add(name, key, f"{r.get(key, 0):.2f}", note)
        for name, key in (("MI (batch)", "mi_batch"), ("MI (corpus)", "mi_corpus")):
            if key in r:
                mi = r[key]
                text = plus_minus(mi["value"], mi["standard_error"])
                rows.append((name, text, f"nats, at most {mi['ceiling']:.2f}"))
        units = f"{r.get('au', 0)} of {r['latent_size']}"
        add("AU", "au", units, "units whose mean varies by > 0.01")
        if "mmd" in r:
            figure = f"{r['mmd']['value']:.4f} ± {r['mmd']['standard_error']:.4f}"
            rows.append(("MMD^2", figure, "all z against the prior; 0: alike"))
        share = f"kept of each sentence, {r.get('vectors_share', 0):.0%} of its tokens"
        add("vectors", "vectors", f"{r.get('vectors', 0):.2f}", share)
        layers = [f"{r[name]:.2f}" for name in r if name.startswith("vectors_layer")]
        if layers:
            rows.append(("  NVIB layers", ", ".join(layers), "kept in each, from below"))
        add("rec, shuffled z", "shuffled_rec", f"{r['shuffled_rec']:.2f}", "z of another sentence")
        add("rec, prior z", "prior_rec", f"{r.get('prior_rec', 0):.2f}", "z from the prior")
    return rows


def _perplexity(value: float) -> str:
    # Of sets the bounds are far from any likelihood.
    return f"{value:.2f}" if value < 1e6 else f"{value:.1e}"


def print_table(console: Console, title: str, results: dict[str, Any]) -> None:
    """The numbers, and the verdict in words."""
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    for name in ("", "figure", ""):
        table.add_column(name, justify="right" if name else "left")
    for row in table_rows(results):
        table.add_row(*row)
    console.print(table)
    if "verdict" in results:
        console.print(f"verdict: {results['verdict']['text']}", soft_wrap=True, highlight=False)
        if results["verdict"]["hint"]:
            console.print(f"  {results['verdict']['hint']}", soft_wrap=True, highlight=False)


def example_sentences(run: TrainedRun, originals: list[str]) -> dict[str, Any]:
    """Sentences from the prior; reconstructions of `originals`, and an interpolation of two."""
    key = jax.random.key(run.config.training.seed)
    number = run.config.evaluation.num_examples
    model, longest = run.config.model, run.config.data.max_length
    how = Decoding(max_length=longest + 1 if longest else Decoding().max_length)
    if model.decoder == "transformer" and model.positions == "learned":
        how = how._replace(max_length=min(how.max_length, model.max_positions))
    examples: dict[str, Any] = {
        "prior_greedy": sample_prior(run, number, how, key=key),
        "prior_sampled": sample_prior(run, number, how._replace(strategy="sample"), key=key),
    }
    if run.config.model.mode == "lm":
        return examples
    examples["reconstructions"] = [
        {"sentence": before, "reconstruction": after}
        for before, after in zip(originals, reconstruct(run, originals, how, key=key), strict=True)
    ]
    first, second = originals[0], originals[-1]
    examples["interpolation"] = {
        "from": first,
        "to": second,
        "sentences": interpolate(run, first, second, 7, how, key=key),
    }
    return examples


def print_examples(console: Console, examples: dict[str, Any]) -> None:
    """The sentences, as plain text."""

    def line(text: str = "") -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    for title, name in (
        ("sentences from the prior, likeliest words", "prior_greedy"),
        ("sentences from the prior, sampled words", "prior_sampled"),
    ):
        line(f"\n{title}")
        for sentence in examples[name]:
            line(f"  {sentence}")
    if "reconstructions" in examples:
        line("\nreconstructions from the posterior mean")
        for pair in examples["reconstructions"]:
            line(f"  {pair['sentence']}\n    -> {pair['reconstruction']}")
        line("\ninterpolation between the first and the last of these")
        for sentence in examples["interpolation"]["sentences"]:
            line(f"  {sentence}")


def draw(
    folder: Path,
    history: list[dict[str, Any]],
    results: dict[str, Any],
    terms: PosteriorTerms,
    labels: Sequence[str] | None,
) -> list[Path]:
    """The pictures in a folder; the map of the means is coloured by `labels`, if any."""
    folder.mkdir(exist_ok=True)
    paths = []
    if history:
        paths.append(folder / "training.png")
        plots.training_curves(history, paths[-1])
    if results.get("latent_size", 0):
        if "kl_per_dim" in results:
            paths.append(folder / "kl_per_dimension.png")
            plots.kl_per_dimension(np.asarray(results["kl_per_dim"]), paths[-1])
        paths.append(folder / "latent_map.png")
        plots.latent_map(terms.mean, paths[-1], labels)
    return paths


def save_results(workdir: Path, results: dict[str, Any], name: str) -> None:
    """Writes the numbers and sentences as JSON."""
    text = json.dumps(_plain(results), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(workdir / name, text + "\n")


def _plain(value: Any) -> Any:
    """NaN, an error bar that one sentence does not have, becomes null: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
