"""Documents as bags of words: the embedded conversations, text files, and sparse count files."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jvae.batch import Counts
from jvae.data.batching import choose_buckets
from jvae.data.files import decode, read_bytes
from jvae.data.split import Split
from jvae.errors import UserError
from jvae.runs.directory import fingerprint
from jvae.runs.task import Data

WORDS = "words.json"  # of a run directory
SPLITS = ("train", "valid", "test")
_SPARSE = re.compile(r"\S+( +\d+:\d+)+ *")  # label index:count ..
_WORD = r"(?u)\b[^\W\d_][^\W\d_]+\b"  # letters, two at least


class Bags(NamedTuple):
    """Bags of words of one split.

    Attributes:
      ids: of each document, its distinct words, ascending.
      counts: how often each occurs.
      classes: the label of each document, or "".
    """

    ids: list[np.ndarray]
    counts: list[np.ndarray]
    classes: list[str]


@dataclasses.dataclass(frozen=True)
class Documents:
    """A corpus of documents.

    Attributes:
      name: "chitchat", or "text" for the user's files.
      bags: "train", "valid", "test" -> bags of words.
      words: the vocabulary.
      notes: what was decided or dropped; one line each.
    """

    name: str
    bags: Mapping[str, Bags]
    words: tuple[str, ...]
    notes: tuple[str, ...]


class WordsResources:
    """Keeps the vocabulary in a run directory (`jvae.runs.task.Resources`)."""

    def read(self, workdir: Path) -> tuple[str, ...]:
        """Reads the words."""
        path = workdir / WORDS
        try:
            return tuple(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is missing or damaged: {error}; train again") from None

    def files(self, resources: tuple[str, ...]) -> Mapping[str, str]:
        """Returns the file's content."""
        return {WORDS: json.dumps(list(resources), ensure_ascii=False) + "\n"}


def load(
    config: Any, *, resources: Any = None, folder: Path | None = None, source: Any = None
) -> Data:
    """Reads the documents that `config.data` names.

    Args:
      config: all of it.
      resources: the vocabulary of an earlier run; None to make one from the training split.
      folder: not used: bags of words stay in memory.
      source: `Documents` that a caller has, instead of reading.

    Raises:
      UserError: a file, or an option, is at fault.
    """
    del folder
    documents = source or _read(config.data, resources)
    splits = {name: _split(bags) for name, bags in documents.bags.items()}
    needed = np.concatenate([split.widths for split in splits.values()])
    buckets = choose_buckets(needed, config.data.max_buckets)
    content = [
        [array.tolist() for array in (*bags.ids, *bags.counts)] for bags in documents.bags.values()
    ]
    return Data(
        documents.name,
        splits,
        buckets,
        (*documents.notes, str(buckets)),
        fingerprint(json.dumps(content)),
        documents.words,
        documents,
    )


def _split(bags: Bags) -> Split:
    widths = np.array([len(ids) for ids in bags.ids], np.int32)
    x = Counts(
        np.zeros((len(widths), widths.max()), np.int32),  # type: ignore[arg-type]
        np.zeros((len(widths), widths.max()), np.float32),  # type: ignore[arg-type]
    )
    for row, (ids, counts) in enumerate(zip(bags.ids, bags.counts, strict=True)):
        x.ids[row, : len(ids)], x.counts[row, : len(ids)] = ids, counts  # type: ignore[index]
    return Split(x, widths)


def _read(data: Any, words: tuple[str, ...] | None) -> Documents:
    if data.name == "chitchat":
        return _from_texts("chitchat", _conversations(), data, words)
    if not data.train:
        raise UserError("no file of documents: give --train=FILE (or --config.data.train=FILE)")
    texts = {
        split: decode(read_bytes(data[split]), data[split]).removesuffix("\n").split("\n")
        for split in SPLITS
        if data[split]
    }
    if _SPARSE.fullmatch(texts["train"][0]):
        return _from_counts(texts, data, words)
    filled = {split: [line for line in lines if line.strip()] for split, lines in texts.items()}
    return _from_texts("text", hold_out(filled, data), data, words)


def _conversations() -> dict[str, list[str]]:
    """Reads the embedded corpus: a conversation is a document."""
    from jvae.data.chitchat import messages, split_of

    found: dict[str, list[str]] = {}
    for conversation, message in messages():
        found.setdefault(conversation, []).append(message)
    texts: dict[str, list[str]] = {split: [] for split in SPLITS}
    for conversation, parts in found.items():
        texts[split_of(conversation)].append(" ".join(parts))
    return texts


def hold_out(rows: dict[str, list[Any]], data: Any) -> dict[str, list[Any]]:
    """Takes the splits without a file from the training documents, a share for each.

    Args:
      rows: documents by split, at least "train".
      data: options of the corpus.

    Raises:
      UserError: there are too few documents.
    """
    missing = [split for split in ("valid", "test") if split not in rows]
    size = max(1, round(data.held_out * len(rows["train"])))
    if missing and size * len(missing) >= len(rows["train"]):
        raise UserError(
            f"{data.train}: {len(rows['train'])} documents are too few to hold out "
            f"{' and '.join(missing)}: give more, or files for --valid and --test"
        )
    order = np.random.default_rng(data.seed).permutation(len(rows["train"]))
    result = dict(rows)
    for number, split in enumerate(missing):
        chosen = np.sort(order[number * size : (number + 1) * size])
        result[split] = [rows["train"][row] for row in chosen]
    result["train"] = [rows["train"][row] for row in np.sort(order[len(missing) * size :])]
    return result


def _from_texts(
    name: str, texts: dict[str, list[str]], data: Any, words: tuple[str, ...] | None
) -> Documents:
    """Counts the words of texts by scikit-learn's vectoriser, fitted to the training split."""
    from sklearn.feature_extraction.text import CountVectorizer

    vectoriser = CountVectorizer(
        token_pattern=_WORD,
        stop_words="english" if data.stop_words else None,
        min_df=1 if words else data.min_documents,
        max_df=1.0 if words else data.max_share,
        max_features=None if words else (data.max_size or None),
        vocabulary=words,
    )
    try:
        vectoriser.fit(texts["train"])
    except ValueError as error:
        raise UserError(f"corpus {name}: {error}; lower data.min_documents") from None
    vocabulary = tuple(str(word) for word in vectoriser.get_feature_names_out())
    bags, notes = {}, [f"{len(vocabulary):,} words of letters, lower-cased"]
    for split in SPLITS:
        matrix = vectoriser.transform(texts[split]).tocsr()
        matrix.sort_indices()
        rows = [slice(*matrix.indptr[row : row + 2]) for row in range(matrix.shape[0])]
        all_bags = [(matrix.indices[row], matrix.data[row], "") for row in rows]
        bags[split], note = _kept(split, all_bags)
        notes.append(note)
    return Documents(name, bags, vocabulary, tuple(notes))


def _from_counts(
    texts: dict[str, list[str]], data: Any, words: tuple[str, ...] | None
) -> Documents:
    """Reads lines `label index:count ..`; indices start at 1 and name the lines of `data.words`."""
    parsed = {
        split: [
            _parse(line, data[split], number)
            for number, line in enumerate(lines, start=1)
            if line.strip()
        ]
        for split, lines in texts.items()
    }
    parsed = hold_out(parsed, data)
    largest = max(int(ids.max()) for rows in parsed.values() for ids, _, _ in rows if len(ids)) + 1
    if words is None and data.words:
        lines = decode(read_bytes(data.words), data.words).removesuffix("\n").split("\n")
        words = tuple(line.split()[0] for line in lines)
    words = words or tuple(f"word{index}" for index in range(1, largest + 1))
    if largest > len(words):
        raise UserError(f"{data.words or WORDS}: {len(words)} words, but index {largest} is used")
    bags, notes = {}, []
    for split in SPLITS:
        bags[split], note = _kept(split, parsed[split])
        notes.append(note)
    return Documents("text", bags, words, tuple(notes))


def _parse(line: str, path: str, number: int) -> tuple[np.ndarray, np.ndarray, str]:
    first, *pairs = line.split()
    try:
        numbers = (pair.split(":") for pair in pairs)
        found = sorted((int(index) - 1, int(count)) for index, count in numbers)
    except ValueError:
        raise UserError(
            f"{path}: line {number} is not `label index:count ..`; correct the line"
        ) from None
    if found and (found[0][0] < 0 or min(count for _, count in found) < 1):
        raise UserError(f"{path}: line {number}: indices and counts start at 1")
    table = np.array(found, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1], first


def _kept(split: str, rows: list[tuple[np.ndarray, np.ndarray, str]]) -> tuple[Bags, str]:
    """Leaves out documents without a known word."""
    kept = [row for row in rows if len(row[0])]
    if not kept:
        raise UserError(f"split {split}: no document holds a word of the vocabulary")
    total = sum(int(counts.sum()) for _, counts, _ in kept)
    note = (
        f"{split}: {len(kept):,} documents, {total:,} words; {len(rows) - len(kept):,} documents "
        "without a known word left out"
    )
    ids, counts, classes = map(list, zip(*kept, strict=True))
    return Bags(ids, counts, classes), note
