"""How good a run's sentences are as text: fluent, varied, wide as the corpus, faithful, smooth.

Two language models of the run's own sizes judge its samples. One learns the training text and reads
the samples (forward perplexity: are they fluent?), the other learns the samples and reads the test
text (reverse perplexity: do they cover it?). Both keep the run's vocabulary, and the epoch that
reads the real validation text best: they differ in their training text only. They are ordinary
runs below `quality/` of the run directory, resumed or read there by the same command.
"""

import json
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

from jvae.data import Corpus, encode_split
from jvae.data.batching import choose_buckets
from jvae.errors import UserError
from jvae.evaluation.diagnostics import perplexity
from jvae.evaluation.programs import SplitBatches, make_programs
from jvae.evaluation.smoothness import smoothness
from jvae.evaluation.text_metrics import bleu, distinct_n, exact_match, self_bleu
from jvae.experiments.config import default_config
from jvae.experiments.runner import run as train
from jvae.experiments.setup import RESULTS, Data, TrainedRun, fingerprint, is_finished, load_run
from jvae.experiments.use import BATCH_SIZE, Decoding, decode, reconstruct, sample_prior, ways
from jvae.types import Key

FOLDER, QUALITY = "quality", "quality.json"
SELF_BLEU_SENTENCES, SELF_BLEU_ORDER = 500, 4
POINTS = 11  # sentences of a way between two, ends included
# What the language models take over from the run. The seed is not among it: all runs of a recipe
# are judged by the same model of the training text.
_TAKEN = {
    "model": (
        "embed_size",
        "hidden_size",
        "dropout_in",
        "dropout_out",
        "init_scale",
        "embed_init_scale",
    ),
    "training": (
        "epochs",
        "batch_size",
        "max_batches",
        "optimiser",
        "learning_rate",
        "clip_norm",
        "patience",
        "warm_epochs",
        "decay",
        "max_decays",
        "memory_gb",
        "log_seconds",
    ),
    "evaluation": ("split",),
}


def language_model_config(config: ConfigDict) -> ConfigDict:
    """The LSTM language model of a run's sizes, data and length of training, without remedies."""
    new = default_config()
    new.data.update(config.data)
    new.model.mode = "lm"
    for group, fields in _TAKEN.items():
        new[group].update({field: config[group][field] for field in fields})
    return new


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
    if run.model.latent_size == 0:
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


def perplexities(
    run: TrainedRun,
    corpus: Corpus,
    samples: list[str],
    real: Path,
    judges: ConfigDict,
    *,
    key: Key,
    say: Callable[[str], None],
) -> dict[str, dict[str, float]]:
    """Forward and reverse perplexity of samples, per predicted token.

    The language model of the training text is in the directory `real`, or is trained there; for
    `judges` see `measure`.
    "real" is the test text's under the model of the training text: what the samples' would be if
    they were real.

    Sources: Zhao et al. 2018 (ARAE), Cifka et al. 2018.
    """
    config = language_model_config(judges)
    judge = _language_model(run, config, real, corpus, "the training text", say)
    # Other samples are another folder: none is resumed with another's sentences.
    name = fingerprint("\n".join(samples))
    own = Corpus(
        name="samples",
        sentences={**corpus.sentences, "train": samples},
        labels=None,
        latents=None,
        notes=("train: samples of the model; valid and test: real text",),
        fingerprint=fingerprint(f"{corpus.fingerprint} {name}"),
    )
    folder = run.workdir / FOLDER / f"samples-{name}"
    fake = _language_model(run, config, folder, own, "the samples", say)
    read = read_perplexity(load_run(real), samples, key=key)
    return {
        "forward_ppl": {"model": read, "real": judge["ppl_iw"]},
        "reverse_ppl": {"model": fake["ppl_iw"], "real": judge["ppl_iw"]},
    }


def _language_model(
    run: TrainedRun,
    config: ConfigDict,
    folder: Path,
    corpus: Corpus,
    text: str,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The results of a language model of `corpus`, trained unless that is done."""
    if is_finished(folder, config):
        say(f"language model of {text}: read from {folder}")
    else:
        say(f"language model of {text}: training in {folder}, progress in its output.txt")
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "output.txt", "a", encoding="utf-8") as shown:
            console = Console(file=shown, width=120)
            train(config, folder, console, corpus=corpus, tokenizer=run.tokenizer)
    return json.loads((folder / RESULTS).read_text(encoding="utf-8"))


def read_perplexity(language_model: TrainedRun, sentences: list[str], *, key: Key) -> float:
    """Perplexity of sentences under a language model, per predicted token, `</s>` counted."""
    data = language_model.config.data
    split, _, _ = encode_split(
        language_model.tokenizer,
        sentences,
        max_length=data.max_length or None,
        too_long=data.too_long,
        split="samples",
    )
    count = len(split.lengths)
    batches = SplitBatches(
        split, choose_buckets(split.lengths, data.max_buckets).widths, BATCH_SIZE
    )
    nll = make_programs(language_model.model).reconstruction(
        language_model.params,
        lambda batch: np.zeros((len(batch.index), 0), np.float32),
        batches,
        count,
        key,
    )
    return perplexity(float(nll.sum(dtype=np.float64)), float(split.lengths.sum()))


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
