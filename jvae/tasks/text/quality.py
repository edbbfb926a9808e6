"""Quality of a run's sentences as text: fluent, varied, wide as the corpus, faithful, smooth.

Two reference language models (`jvae.tasks.text.reference_models`) measure whether they are fluent
and wide, and counts of words the rest.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from rich import box
from rich.console import Console
from rich.table import Table

from jvae.data import Tokenizer
from jvae.errors import UserError
from jvae.evaluation.smoothness import smoothness
from jvae.evaluation.text_metrics import bleu, distinct_n, exact_match, self_bleu
from jvae.runs.directory import TrainedRun, load_run
from jvae.runs.task import Data
from jvae.tasks.text.reference_models import FOLDER, perplexities, read_perplexity
from jvae.tasks.text.use import Decoding, decode, paths, reconstruct, sample_prior

QUALITY = "quality.json"
SELF_BLEU_SENTENCES, SELF_BLEU_ORDER = 500, 4
POINTS = 11  # sentences of a path between two, ends included


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
    recipe: ConfigDict | None = None,
) -> dict[str, Any]:
    """Measures a run's samples, reconstructions and paths, beside those of real text.

    Args:
      run: trained; with a language model there are no reconstructions and no paths.
      data: its corpus.
      how: words of the samples are chosen; `max_length` None, or above it, is the corpus' longest
        sentence.
      number: of samples; 0 for as many as there are training sentences.
      reconstruction: strategy of the reconstructions, and of the sentences along a path.
      pairs: of sentences, between which paths are measured; 0 for none.
      seed: of all draws.
      say: prints a line.
      real: directory of the language model of the training text; by default in the run's. Runs
        of one corpus and language model may share it.
      recipe: whose sizes and length of training the language models have; by default the run's.

    Returns:
      A JSON-ready dictionary: for each number "model" and, where it has one, "real".

    Raises:
      UserError: fewer than two samples hold a word.
    """
    key = jax.random.key(seed)
    longest = data.buckets.widths[-1] - 1  # without </s>: a longer sample might be dropped later
    how = how._replace(
        max_length=min(how.max_length or longest, longest),
        allow_unk=how.allow_unk and writes_unk(run),
    )
    kept = data.source.rows["train"]
    number = number or len(kept)
    samples = with_words(run, sample_prior(run, number, how, key=key))
    say(f"{number:,} samples, {number - len(samples):,} of them empty and left out")

    real = real or run.workdir / FOLDER / "real"
    # As the model reads them: cut, with <unk>. Equally many, for variety falls with the number.
    rows = np.random.default_rng(seed).permutation(kept)[: len(samples)]
    text = as_read(run, data, "train", rows)
    split = run.config.evaluation.split
    results: dict[str, Any] = {
        "samples": number,
        "empty": number - len(samples),
        "compared": len(rows),
        "seed": seed,
        "split": split,
        "decoding": how._asdict(),
        **perplexities(run, data, samples, real, recipe or run.config, key=key, say=say),
        **variety(samples[: len(rows)], text),
    }
    if run.config.model.mode == "lm":
        return results
    originals, references = data.source.sentences(split), as_read(run, data, split)
    how = how._replace(strategy=reconstruction)
    back = reconstruct(run, originals, how, key=key)
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
        z = paths(run, ends[:some], ends[some:], POINTS, key=key)
        language_model = load_run(real, run.task)
        results |= along_paths(
            decode(run, z, how, key=key),
            lambda sentences: read_perplexity(language_model, sentences, key=key),
        )
    return results


def with_words(run: TrainedRun, sentences: Sequence[str]) -> list[str]:
    """Leaves out samples without a word.

    Raises:
      UserError: fewer than two are left.
    """
    kept = [sentence for sentence in sentences if sentence.strip()]
    if len(kept) < 2:
        raise UserError(
            f"{run.workdir}: {len(kept)} of {len(sentences)} samples hold a word; at least 2 are "
            "needed: raise -n, or train longer"
        )
    return kept


def variety(samples: list[str], text: list[str]) -> dict[str, dict[str, float]]:
    """Counts how varied samples are, beside equally many sentences of real text."""
    both = {"model": samples, "real": text}
    results: dict[str, dict[str, float]] = {
        "self_bleu": {
            who: self_bleu(some[:SELF_BLEU_SENTENCES], max_order=SELF_BLEU_ORDER)
            for who, some in both.items()
        }
    }
    for n in (1, 2, 3):
        results[f"distinct_{n}"] = {who: distinct_n(some, n) for who, some in both.items()}
    results["words"] = {
        who: sum(len(sentence.split()) for sentence in some) / len(some)
        for who, some in both.items()
    }
    return results


def along_paths(
    sentences: Sequence[str], perplexity: Callable[[list[str]], float]
) -> dict[str, Any]:
    """Measures how smooth paths between sentences are, and how fluent what lies on them.

    Args:
      sentences: `POINTS` of each path, one path after the other.
      perplexity: of sentences under a language model of the training text.

    Returns:
      "interpolation": the number of paths and the standard errors; "jump", "path" and "monotone"
      (`jvae.evaluation.smoothness.Smoothness`) unless all ends are equal; "between_ppl": the
      forward perplexity of the sentences strictly between the ends, unless none holds a word.
    """
    each = [sentences[start : start + POINTS] for start in range(0, len(sentences), POINTS)]
    smooth = smoothness(each)
    about: dict[str, Any] = {
        "points": POINTS,
        "pairs": len(each),
        "measured": smooth.paths,
        "equal_ends": smooth.equal_ends,
    }
    results: dict[str, Any] = {"interpolation": about}
    if smooth.mean is not None and smooth.error is not None:
        about |= {f"{name}_se": error for name, error in smooth.error._asdict().items()}
        results |= {name: {"model": value} for name, value in smooth.mean._asdict().items()}
    inner = [sentence for one in each for sentence in one[1:-1] if sentence.strip()]
    if inner:
        results["between_ppl"] = {"model": perplexity(inner)}
    return results


def writes_unk(run: TrainedRun) -> bool:
    """Tells whether `<unk>` is one token of the run: other tokenizers read five characters."""
    tokenizer: Tokenizer = run.resources
    return tokenizer.kind == "words"


def as_read(run: TrainedRun, data: Data, split: str, rows: np.ndarray | None = None) -> list[str]:
    """Returns sentences of a split as the run's tokenizer gives them back; by default all kept."""
    tokenizer: Tokenizer = run.resources
    longest = run.config.data.max_length or None
    sentences = data.source.corpus.sentences[split]
    rows = data.source.rows[split] if rows is None else rows
    encoded = (tokenizer.encode(sentences[row]) for row in rows.tolist())
    return [tokenizer.decode(ids[:longest]) for ids in encoded]


def print_table(console: Console, title: str, results: dict[str, Any]) -> None:
    """Prints the numbers beside those of real text."""
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
        some_back = f"{results['reconstructed']:,} sentences, {results['reconstruction']}"
        rows += [
            ("reconstruction BLEU", "reconstruction_bleu", f"{some_back} from the posterior mean"),
            ("exact match", "exact_match", "share of them that come back unchanged"),
        ]
    if "interpolation" in results:
        about = results["interpolation"]
        on = f"{about['measured']} paths of {about['points']} sentences between two real ones"
        best = 1 / (about["points"] - 1)
        rows += [
            ("jump", "jump", f"longest step per distance, {best:.2f} is best; {on}"),
            ("path", "path", "length of the path per distance, 1 is best"),
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
        numbers = [f"{math.inf if x is None else x:.{digits}f}" for x in results[field].values()]
        table.add_row(name, *numbers, *[""] * (2 - len(numbers)), note)
    console.print(table)
