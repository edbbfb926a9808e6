"""The sentences of a text run: their corpus, its vocabulary, and their encoding."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jvae.data import Corpus, Split, Tokenizer, build_tokenizer, encode_split, load_corpus
from jvae.data.batching import choose_buckets
from jvae.data.tokenizers import spaces_count
from jvae.errors import UserError
from jvae.runs.task import Data

TOKENIZER = "tokenizer.json"
# Fewer words in a sentence, or more characters in a word, than a text with spaces has on average.
LEAST_WORDS, MOST_CHARACTERS = 1.5, 25
LOOKED_AT = 10_000  # sentences


@dataclass(frozen=True)
class Source:
    """Sentences as they were written.

    Attributes:
      corpus: all of them.
      rows: split -> numbers `[N]` of the corpus' sentences that were kept.
    """

    corpus: Corpus
    rows: Mapping[str, np.ndarray] = field(default_factory=dict)

    def sentences(self, split: str) -> list[str]:
        """Returns the sentences of a split that were kept."""
        sentences = self.corpus.sentences[split]
        return [sentences[row] for row in self.rows[split].tolist()]

    def labels(self, split: str) -> list[str] | None:
        """Returns their labels; None where the corpus has none."""
        if self.corpus.labels is None:
            return None
        labels = self.corpus.labels[split]
        return [labels[row] for row in self.rows[split].tolist()]


class TokenizerFile:
    """Keeps the tokenizer of a run in its directory."""

    def read(self, workdir: Path) -> Tokenizer:
        """Reads the tokenizer of a run directory.

        Raises:
          UserError: it is missing or damaged.
        """
        path = workdir / TOKENIZER
        if not path.exists():
            raise UserError(f"{path} is missing: train again")
        return Tokenizer.load(path)

    def files(self, resources: Tokenizer) -> dict[str, str]:
        """Returns the file to write."""
        return {TOKENIZER: resources.to_json()}


def load(
    config: Any,
    *,
    resources: Tokenizer | None = None,
    folder: Path | None = None,
    source: Source | None = None,
) -> Data:
    """Reads the corpus that `config.data` names, and encodes it.

    Args:
      config: all of it.
      resources: the tokenizer of the run that goes on or is used; None to make one.
      folder: on whose disk `data.stream` keeps the training split's tokens; None for that of the
        system's temporary files.
      source: whose corpus is encoded instead.

    Raises:
      UserError: the data or its options are at fault.
    """
    options = config.data
    corpus = source.corpus if source is not None else read_corpus(config)
    tokenizer = resources or make_tokenizer(config, corpus)
    on_disk = (folder or Path(tempfile.gettempdir())) if options.stream else None
    splits: dict[str, Split] = {}
    rows: dict[str, np.ndarray] = {}
    notes = [*corpus.notes, *_spaceless(tokenizer, corpus.sentences["train"])]
    for name, sentences in corpus.sentences.items():
        splits[name], report, rows[name] = encode_split(
            tokenizer,
            sentences,
            max_length=options.max_length or None,
            too_long=options.too_long,
            split=name,
            folder=on_disk if name == "train" else None,
        )
        notes.append(f"{name}: {report}")
    buckets = choose_buckets(splits["train"].widths, options.max_buckets)
    longest = max(int(split.widths.max()) for split in splits.values())
    if longest > buckets.widths[-1]:  # a longer sentence outside the training split
        buckets = buckets._replace(widths=(*buckets.widths, longest))
    notes.append(f"{buckets}")
    return Data(
        name=corpus.name,
        splits=splits,
        buckets=buckets,
        notes=tuple(notes),
        fingerprint=corpus.fingerprint,
        resources=tokenizer,
        source=Source(corpus, rows),
    )


def _spaceless(tokenizer: Tokenizer, sentences: Sequence[str]) -> list[str]:
    """Notes that the words of most sentences are whole sentences: unseen ones are all `<unk>`.

    Chinese, molecules and proteins have no spaces; words of a language have far fewer characters.
    """
    if tokenizer.kind != "words":
        return []
    some = sentences[:LOOKED_AT]
    words = sum(len(sentence.split()) for sentence in some)
    if words >= LEAST_WORDS * len(some) and sum(map(len, some)) <= MOST_CHARACTERS * words:
        return []
    return [
        f"the sentences have {words / len(some):.1f} words each, for spaces part words: "
        "text without spaces needs --config.data.tokenizer=chars, or =bpe"
    ]


def read_corpus(config: Any) -> Corpus:
    """Reads the corpus that `config.data` names.

    Raises:
      UserError: it cannot be read.
    """
    data = config.data
    options: dict[str, dict[str, Any]] = {
        "ptb": {"data_dir": data.dir or None},
        "synthetic": {"seed": data.seed},
        "text": {
            "train": data.train,
            "valid": data.valid or None,
            "test": data.test or None,
            "seed": data.seed,
            "label": data.label,
            "column": data.column or None,
            "label_column": data.label_column or None,
            "spaces": spaces_count(data.tokenizer),
        },
    }
    if data.name == "text" and not data.train:
        raise UserError("no file of sentences: give --train=FILE (or --config.data.train=FILE)")
    return load_corpus(data.name, **options.get(data.name, {}))


def make_tokenizer(config: Any, corpus: Corpus) -> Tokenizer:
    """Makes a tokenizer of the training split.

    A run that takes another's parameters (`training.start_from`) takes its tokenizer: the
    embeddings mean nothing with another.

    Raises:
      UserError: the other run's tokenizer is missing, damaged, or of another kind.
    """
    data, other = config.data, config.training.start_from
    if not other:
        return build_tokenizer(
            data.tokenizer,
            corpus.sentences["train"],
            min_count=data.min_count,
            max_size=data.max_size or None,
        )
    try:
        tokenizer = TokenizerFile().read(Path(other))
    except UserError as error:
        raise UserError(f"training.start_from = {other!r}: {error}") from None
    if tokenizer.kind != data.tokenizer:
        raise UserError(
            f"training.start_from = {other!r}: its data.tokenizer is {tokenizer.kind!r}, not "
            f"{data.tokenizer!r}; take its own, as its vocabulary is taken"
        )
    return tokenizer
