"""Two language models that a run's samples are measured by.

One learns the training text and reads the samples (forward perplexity: are they fluent?), the other
learns the samples and reads the test text (reverse perplexity: do they cover it?). Both keep the
run's vocabulary, and the epoch that reads the real validation text best: they differ in their
training text only. They are ordinary runs below `quality/` of the run directory, resumed or read
there by the same command.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from jvae.components import default_config
from jvae.data import Corpus, encode_split
from jvae.data.batching import choose_buckets
from jvae.evaluation.diagnostics import perplexity
from jvae.evaluation.functions import SplitBatches, make_functions
from jvae.runs.directory import RESULTS, TrainedRun, fingerprint, is_finished, load_run, read_json
from jvae.runs.run import run as train
from jvae.runs.task import Data, Task
from jvae.tasks.text.data import Source
from jvae.tasks.text.use import BATCH_SIZE
from jvae.types import Key

FOLDER = "quality"
# Fields that the language models take over from the run. The seed is none: all runs of a recipe
# are measured by the same model of the training text.
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


def language_model_config(task: Task, config: ConfigDict) -> ConfigDict:
    """Makes the LSTM language model of a run's sizes, data and length of training."""
    new = default_config(task.groups)
    new.data.update(config.data)
    new.model.mode = "lm"
    for group, fields in _TAKEN.items():
        new[group].update({field: config[group][field] for field in fields})
    return new


def perplexities(
    run: TrainedRun,
    data: Data,
    samples: list[str],
    real: Path,
    recipe: ConfigDict,
    *,
    key: Key,
    say: Callable[[str], None],
) -> dict[str, dict[str, float]]:
    """Computes forward and reverse perplexity of samples, per predicted token.

    The language model of the training text is in the directory `real`, or is trained there; for
    `recipe` see `jvae.tasks.text.quality.measure`. "real" is the test text's under the model of the
    training text: what the samples' would be if they were real.

    References:
      Zhao et al. 2018 (ARAE); Cifka et al. 2018.
    """
    config, corpus = language_model_config(run.task, recipe), data.source.corpus
    of_real = _language_model(run, config, real, corpus, "the training text", say)
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
    of_samples = _language_model(run, config, folder, own, "the samples", say)
    forward = read_perplexity(load_run(real, run.task), samples, key=key)
    return {
        "forward_ppl": {"model": forward, "real": of_real["ppl_iw"]},
        "reverse_ppl": {"model": of_samples["ppl_iw"], "real": of_real["ppl_iw"]},
    }


def _language_model(
    run: TrainedRun,
    config: ConfigDict,
    folder: Path,
    corpus: Corpus,
    text: str,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Returns the results of a language model of `corpus`, trained unless that is done."""
    if is_finished(folder, run.task, config):
        say(f"language model of {text}: read from {folder}")
    else:
        say(f"language model of {text}: training in {folder}, progress in its output.txt")
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "output.txt", "a", encoding="utf-8") as shown:
            console = Console(file=shown, width=120)
            train(run.task, config, folder, console, source=Source(corpus), resources=run.resources)
    results: dict[str, Any] = read_json(folder / RESULTS)
    return results


def read_perplexity(language_model: TrainedRun, sentences: list[str], *, key: Key) -> float:
    """Computes a language model's perplexity of sentences, per predicted token, with `</s>`."""
    data = language_model.config.data
    split, _, _ = encode_split(
        language_model.resources,
        sentences,
        max_length=data.max_length or None,
        too_long=data.too_long,
        split="samples",
    )
    count = len(split)
    batches = SplitBatches(split, choose_buckets(split.widths, data.max_buckets).widths, BATCH_SIZE)
    nll = make_functions(language_model.model).reconstruction(
        language_model.params,
        lambda batch: np.zeros((len(batch.index), 0), np.float32),
        batches,
        count,
        key,
    )
    return perplexity(float(nll.sum(dtype=np.float64)), float(split.symbols.sum()))
