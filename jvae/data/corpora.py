"""The corpora by name. Each loader takes only what it needs and gives a `Corpus`."""

import difflib
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jvae.errors import UserError

if TYPE_CHECKING:
    from jvae.data.builder import Contents

# The builders import tensorflow_datasets, which takes half a second: each loader imports its own.


@dataclass(frozen=True)
class Corpus:
    """Sentences in three splits.

    Attributes:
      name: as in `CORPORA`.
      sentences: "train", "valid", "test" -> sentences.
      labels: as many labels, or None.
      latents: `[N, 2]` true latents per split, or None; `synthetic` only.
      notes: one line for each thing that was filtered, dropped, split or decided.
      fingerprint: SHA-256 over all sentences of all splits; resuming a run checks it.
    """

    name: str
    sentences: Mapping[str, Sequence[str]]
    labels: Mapping[str, Sequence[str]] | None
    latents: Mapping[str, np.ndarray] | None
    notes: tuple[str, ...]
    fingerprint: str


def load_corpus(name: str, **options: object) -> Corpus:
    """Loads a corpus by its name.

    Args:
      name: a key of `CORPORA`.
      **options: the loader's.

    Raises:
      UserError: an unknown name or option, or what the loader finds wrong.
    """
    if name not in CORPORA:
        near = difflib.get_close_matches(str(name), CORPORA, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"unknown corpus {name!r}: {hint}there are {', '.join(CORPORA)}")
    loader = CORPORA[name]
    known = inspect.signature(loader).parameters
    for option in options:
        if option not in known:
            raise UserError(
                f"corpus {name} has no option {option!r}; its options are {', '.join(known)}"
            )
    return loader(**options)


def chitchat(cache_dir: str | None = None) -> Corpus:
    """Reads about 160,000 sentences of students' conversations, shipped with a dependency (MIT).

    Args:
      cache_dir: where prepared corpora lie; default `$JVAE_CACHE_DIR` or `~/.cache/jvae`.
    """
    from jvae.data.cache import cached
    from jvae.data.chitchat import Chitchat

    return _corpus("chitchat", cached(Chitchat, cache_dir=cache_dir))


def ptb(data_dir: str | None = None, cache_dir: str | None = None) -> Corpus:
    """Reads Mikolov's Penn Treebank: 42,068 / 3,370 / 3,761 sentences.

    Args:
      data_dir: a directory with `ptb.{train,valid,test}.txt`; default `$JVAE_DATA_DIR`, else the
        files are downloaded.
      cache_dir: where prepared corpora lie.

    Raises:
      UserError: a wrong checksum, a missing file, or neither files nor network.
    """
    from jvae.data import ptb as source
    from jvae.data.cache import cached

    # Given files are checked even if the corpus is prepared already.
    config = source.PtbConfig(name="mikolov", files=source.local_files(data_dir))
    return _corpus("ptb", cached(source.Ptb, config, cache_dir))


def text(
    train: str | None = None,
    valid: str | None = None,
    test: str | None = None,
    seed: int = 0,
    label: bool = False,
    column: str | None = None,
    label_column: str | None = None,
    cache_dir: str | None = None,
    spaces: bool = False,
) -> Corpus:
    """Reads the user's files: plain text, a table or FASTA, also as `.gz`, see `jvae.data.files`.

    Args:
      train: its path.
      valid: its path; without it, 5 % of the train file.
      test: likewise.
      seed: chooses the sentences that are held out of the train file.
      label: plain lines are `label<TAB>sentence`.
      column: the column of a table that holds the sentences.
      label_column: the one that holds the labels.
      cache_dir: where prepared corpora lie.
      spaces: whether the spaces around a sentence belong to it.

    Raises:
      UserError: a file that cannot be read as sentences.
    """
    from jvae.data import text as source
    from jvae.data.cache import cached

    if not train:
        raise UserError("corpus text: no train file given; set --config.data.train=FILE")
    config = source.config(
        train,
        valid or None,
        test or None,
        seed=_count("seed", seed),
        label=bool(label),
        column=column or None,
        label_column=label_column or None,
        spaces=bool(spaces),
    )
    return _corpus("text", cached(source.Text, config, cache_dir))


def synthetic(
    seed: int = 0,
    cache_dir: str | None = None,
    num_train: int = 16000,
    num_valid: int = 2000,
    num_test: int = 2000,
) -> Corpus:
    """Makes He et al. 2019's toy data with its latents; `jvae.data.generator` has the densities.

    Args:
      seed: of the generator's parameters and of all draws.
      cache_dir: where prepared corpora lie.
      num_train: sentences of the split; the other splits do not depend on it.
      num_valid: likewise.
      num_test: likewise.

    Raises:
      UserError: a negative seed or an empty split.
    """
    from jvae.data.cache import cached
    from jvae.data.synthetic import Synthetic, SyntheticConfig

    sizes = (
        _count("num_train", num_train, least=1),
        _count("num_valid", num_valid, least=1),
        _count("num_test", num_test, least=1),
    )
    name = "-".join(map(str, (f"seed{_count('seed', seed)}", *sizes)))
    return _corpus(
        "synthetic",
        cached(Synthetic, SyntheticConfig(name=name, seed=seed, sizes=sizes), cache_dir),
    )


CORPORA: dict[str, Callable[..., Corpus]] = {
    "chitchat": chitchat,
    "ptb": ptb,
    "text": text,
    "synthetic": synthetic,
}


def _corpus(name: str, contents: "Contents") -> Corpus:
    from jvae.data.builder import fingerprint

    def column(which: str) -> dict[str, Sequence] | None:
        if which not in contents.splits["train"]:
            return None
        return {split: rows[which] for split, rows in contents.splits.items()}

    return Corpus(
        name=name,
        sentences=column("sentences") or {},
        labels=column("labels"),
        latents=column("latents"),  # type: ignore[arg-type]
        notes=contents.notes,
        fingerprint=fingerprint(contents.splits),
    )


def _count(option: str, value: object, least: int = 0) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if number < least:
        raise UserError(f"data.{option} is {value!r}; it must be a whole number from {least} on")
    return number
