"""How good a run's sentences are as text: fluent, varied, wide as the corpus, faithful, smooth.

Fluent and wide by two language models (`jvae.experiments.judges`), the rest by counting words.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from rich import box
from rich.console import Console
from rich.table import Table

from jvae.data import Corpus
from jvae.errors import UserError
from jvae.evaluation.smoothness import smoothness
from jvae.evaluation.text_metrics import bleu, distinct_n, exact_match, self_bleu
from jvae.experiments.judges import FOLDER, perplexities, read_perplexity
from jvae.experiments.setup import Data, TrainedRun, load_run
from jvae.experiments.use import Decoding, decode, reconstruct, sample_prior, ways
from jvae.types import Key

QUALITY = "quality.json"
SELF_BLEU_SENTENCES, SELF_BLEU_ORDER = 500, 4
POINTS = 11  # sentences of a way between two, ends included


def measure(
    run: TrainedRun,
    data: Data,
    how: Decoding,
    *,
    number: int,
    reconstruction: str,
    pairs: int,
    seed: int,
    say: Callable[[str], None],
    real: Path | None = None,
    judges: ConfigDict | None = None,
) -> dict[str, Any]:
    """All numbers about a run's samples, reconstructions and ways, beside those of real text.

    Args:
      run: trained; with a language model there are no reconstructions and no ways.
      data: its corpus.
      how: of the samples; `max_length` 0, or above it, is the corpus' longest sentence.
      number: of samples; 0 for as many as there are training sentences.
      reconstruction: strategy of the reconstructions, and of the sentences along a way.
      pairs: of sentences, between which ways are measured; 0 for none.
      seed: of all draws.
      say: what happens.
      real: directory of the language model of the training text; by default in the run's. Runs
        of one corpus and language model may share it.
      judges: whose sizes and length of training the language models have; by default the run's.

    Returns:
      A JSON-ready dictionary: for each number "model" and, where it has one, "real".

    Raises:
      UserError: fewer than two samples hold a word.
    """
    key = jax.random.key(seed)
    longest = data.buckets.widths[-1] - 1  # without </s>: a longer sample might be dropped later
    how = how._replace(
        max_length=min(how.max_length or longest, longest),
        # The other tokenizers would read "<unk>" as five characters.
        allow_unk=how.allow_unk and run.tokenizer.kind == "words",
    )
    number = number or len(data.rows["train"])
    drawn = sample_prior(run, number, how, key=key)
    samples = [sentence for sentence in drawn if sentence.strip()]
    say(f"{number:,} samples, {number - len(samples):,} of them empty and left out")
    if len(samples) < 2:
        raise UserError(
            f"{run.workdir}: {len(samples)} of {number} samples hold a word; at least 2 are "
            "needed: raise -n, or train longer"
        )

    real = real or run.workdir / FOLDER / "real"
    # As the model reads them: cut, with <unk>. Equally many, for variety falls with the number.
    rows = np.random.default_rng(seed).permutation(data.rows["train"])[: len(samples)]
    text = as_read(run, data.corpus, "train", rows)
    results: dict[str, Any] = {
        "samples": number,
        "empty": number - len(samples),
        "compared": len(rows),
        "seed": seed,
        "split": run.config.evaluation.split,
        "decoding": how._asdict(),
        **perplexities(run, data.corpus, samples, real, judges or run.config, key=key, say=say),
    }
    both = {"model": samples[: len(rows)], "real": text}
    results["self_bleu"] = {
        who: self_bleu(some[:SELF_BLEU_SENTENCES], max_order=SELF_BLEU_ORDER)
        for who, some in both.items()
    }
    for n in (1, 2, 3):
        results[f"distinct_{n}"] = {who: distinct_n(some, n) for who, some in both.items()}
    results["words"] = {
        who: sum(len(sentence.split()) for sentence in some) / len(some)
        for who, some in both.items()
    }
    if run.config.model.mode == "lm":
        return results
    split = run.config.evaluation.split
    sentences, kept = data.corpus.sentences[split], data.rows[split]
    originals = [sentences[row] for row in kept]
    back = reconstruct(run, originals, how._replace(strategy=reconstruction), key=key)
    references = as_read(run, data.corpus, split, kept)
    score, signature = bleu(back, references)
    results |= {
        "reconstruction": reconstruction,
        "reconstructed": len(back),
        "bleu_signature": signature,
        "reconstruction_bleu": {"model": score},
        "exact_match": {"model": exact_match(back, references)},
    }
    some = min(pairs, len(originals) // 2)
    if some:
        chosen = np.random.default_rng(seed).permutation(len(originals))[: 2 * some]
        ends = [originals[row] for row in chosen]
        how = how._replace(strategy=reconstruction)
        results |= interpolations(run, ends, how, load_run(real), key=key)
    return results


def interpolations(
    run: TrainedRun,
    sentences: list[str],
    how: Decoding,
    language_model: TrainedRun,
    *,
    key: Key,
) -> dict[str, Any]:
    """How smooth the ways between pairs of sentences are, and how fluent what lies on them.

    Args:
      run: trained.
      sentences: N first ends, then N last ones.
      how: sentences are chosen.
      language_model: of the training text.
      key: of all draws.

    Returns:
      "interpolation": how many ways and the standard errors; "jump", "path" and "monotone"
      (`jvae.evaluation.smoothness.Smoothness`) unless all ends are equal; "between_ppl": the
      forward perplexity of the sentences strictly between the ends, unless none holds a word.
    """
    half = len(sentences) // 2
    z = ways(run, sentences[:half], sentences[half:], POINTS, key=key)
    decoded = decode(run, z, how, key=key)
    way = [decoded[start : start + POINTS] for start in range(0, len(decoded), POINTS)]
    found = smoothness(way)
    about: dict[str, Any] = {
        "points": POINTS,
        "pairs": half,
        "measured": found.ways,
        "equal_ends": found.equal_ends,
    }
    results: dict[str, Any] = {"interpolation": about}
    if found.mean is not None and found.error is not None:
        about |= {f"{name}_se": error for name, error in found.error._asdict().items()}
        results |= {name: {"model": value} for name, value in found.mean._asdict().items()}
    inner = [sentence for one in way for sentence in one[1:-1] if sentence.strip()]
    if inner:
        results["between_ppl"] = {"model": read_perplexity(language_model, inner, key=key)}
    return results


def as_read(run: TrainedRun, corpus: Corpus, split: str, rows: np.ndarray) -> list[str]:
    """Sentences as the run's tokenizer gives them back."""
    longest = run.config.data.max_length or None
    encoded = (run.tokenizer.encode(corpus.sentences[split][row]) for row in rows.tolist())
    return [run.tokenizer.decode(ids[:longest]) for ids in encoded]


def print_table(console: Console, title: str, results: dict[str, Any]) -> None:
    """The numbers beside those of real text."""
    some = min(SELF_BLEU_SENTENCES, results["compared"])
    rows = [
        ("forward PPL", "forward_ppl", "a language model of the training text reads them"),
        (
            "reverse PPL",
            "reverse_ppl",
            f"a language model of them reads {results['split']} text",
        ),
        (f"self-BLEU-{SELF_BLEU_ORDER}", "self_bleu", f"of {some} sentences; 100 if all are equal"),
        (
            "distinct-1",
            "distinct_1",
            f"different words per word, {results['compared']:,} sentences",
        ),
        ("distinct-2", "distinct_2", "different pairs per word"),
        ("distinct-3", "distinct_3", "different triples per word"),
        ("words", "words", "per sentence"),
    ]
    if "reconstruction" in results:
        way = f"{results['reconstructed']:,} sentences, {results['reconstruction']}"
        rows += [
            ("reconstruction BLEU", "reconstruction_bleu", f"{way} from the posterior mean"),
            ("exact match", "exact_match", "share of them that come back unchanged"),
        ]
    if "interpolation" in results:
        about = results["interpolation"]
        on = f"{about['measured']} ways of {about['points']} sentences between two real ones"
        best = 1 / (about["points"] - 1)
        rows += [
            ("jump", "jump", f"longest step per distance, {best:.2f} is best; {on}"),
            ("path", "path", "length of the way per distance, 1 is best"),
            ("monotone", "monotone", "share of the steps that do not lead away from the end"),
            ("PPL between", "between_ppl", "forward PPL of the sentences between the ends"),
        ]
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    for name in ("", "model", "real text", ""):
        table.add_column(name, justify="right" if name else "left")
    for name, field, note in rows:
        if field not in results:  # all ends are equal
            continue
        digits = 3 if field.startswith(("distinct", "exact")) else 2
        # A perplexity that no number can hold is read back as none.
        figures = [f"{math.inf if x is None else x:.{digits}f}" for x in results[field].values()]
        table.add_row(name, *figures, *[""] * (2 - len(figures)), note)
    console.print(table)
