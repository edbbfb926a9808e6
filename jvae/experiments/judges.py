"""Two language models that judge a run's samples.

One learns the training text and reads the samples (forward perplexity: are they fluent?), the other
learns the samples and reads the test text (reverse perplexity: do they cover it?). Both keep the
run's vocabulary, and the epoch that reads the real validation text best: they differ in their
training text only. They are ordinary runs below `quality/` of the run directory, resumed or read
there by the same command.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from jvae.data import Corpus, encode_split
from jvae.data.batching import choose_buckets
from jvae.evaluation.diagnostics import perplexity
from jvae.evaluation.programs import SplitBatches, make_programs
from jvae.experiments.config import default_config
from jvae.experiments.runner import run as train
from jvae.experiments.setup import RESULTS, TrainedRun, fingerprint, is_finished, load_run
from jvae.experiments.use import BATCH_SIZE
from jvae.types import Key

FOLDER = "quality"
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
    count = len(split)
    batches = SplitBatches(split, choose_buckets(split.widths, data.max_buckets).widths, BATCH_SIZE)
    nll = make_programs(language_model.model).reconstruction(
        language_model.params,
        lambda batch: np.zeros((len(batch.index), 0), np.float32),
        batches,
        count,
        key,
    )
    return perplexity(float(nll.sum(dtype=np.float64)), float(split.symbols.sum()))
