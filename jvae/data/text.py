"""The user's own text: one file for each split, or one file from which splits are held out."""

import dataclasses
import hashlib
import json

import numpy as np
import tensorflow_datasets as tfds

from jvae.data.builder import SPLITS, Contents, SentenceBuilder
from jvae.data.files import Rows, ending, parse, read_bytes

HELD_OUT = 0.05  # share of the train file for each split without a file of its own


@dataclasses.dataclass(eq=False)
class TextConfig(tfds.core.BuilderConfig):
    """The files' bytes and how to read them; `name` is a hash of both (`config`)."""

    files: dict[str, tuple[str, bytes]] = dataclasses.field(default_factory=dict, repr=False)
    seed: int = 0
    label: bool = False
    column: str | None = None
    label_column: str | None = None
    spaces: bool = False


class Text(SentenceBuilder):
    """Sentences of files that the user gives, as they are: nothing is lower-cased or split."""

    # Another way to read the same files has another version: the cache keys on it, too.
    VERSION = tfds.core.Version("1.1.0")

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """Labels are a column only where the user names them."""
        config = self.builder_config
        return ("sentences", "labels") if config.label or config.label_column else ("sentences",)

    def contents(self) -> Contents:
        """Parses the files and holds out the splits that have none."""
        config = self.builder_config
        rows = {
            split: parse(
                data,
                path,
                label=config.label,
                column=config.column,
                label_column=config.label_column,
                spaces=config.spaces,
            )
            for split, (path, data) in config.files.items()
        }
        notes = [
            f"{split} file: {part.blank:,} blank lines skipped"
            for split, part in rows.items()
            if part.blank
        ]
        splits, note = hold_out(rows, config.seed)
        notes += [note] if note else []
        known = set(splits["train"].sentences)
        for split in SPLITS[1:]:
            sentences = splits[split].sentences
            count = sum(sentence in known for sentence in sentences)
            if count:
                notes.append(f"{count:,} of {len(sentences):,} {split} sentences are also in train")
        return Contents({split: _columns(splits[split]) for split in SPLITS}, tuple(notes))


def config(
    train: str,
    valid: str | None = None,
    test: str | None = None,
    *,
    seed: int = 0,
    label: bool = False,
    column: str | None = None,
    label_column: str | None = None,
    spaces: bool = False,
) -> TextConfig:
    """Reads the files and names the configuration after what is in them.

    The cache keys on content, not on path and time, so that an edited file is never taken for the
    old one. Hashing costs far less than parsing.

    Args:
      train: its path; likewise `valid` and `test`.
      valid: None to hold it out of the train file.
      test: likewise.
      seed: of holding out.
      label: as in `jvae.data.files.parse`; likewise `column` and `label_column`.
      column: of the sentences.
      label_column: of the labels.
      spaces: whether the spaces around a sentence belong to it.

    Raises:
      UserError: a file cannot be read.
    """
    paths = {"train": train, "valid": valid, "test": test}
    files = {split: (str(path), read_bytes(path)) for split, path in paths.items() if path}
    key = hashlib.sha256(json.dumps([seed, label, column, label_column, spaces]).encode())
    for split, (path, data) in files.items():
        # The ending decides how a file is parsed.
        key.update(f"{split} {ending(path)} {hashlib.sha256(data).hexdigest()}\n".encode())
    return TextConfig(
        name=key.hexdigest(),
        files=files,
        seed=seed,
        label=label,
        column=column,
        label_column=label_column,
        spaces=spaces,
    )


def hold_out(rows: dict[str, Rows], seed: int) -> tuple[dict[str, Rows], str]:
    """Takes the splits without a file from the train file, at least one sentence for each.

    A train file that is too small to give one to each is used whole in all of them.

    Args:
      rows: split -> rows; at least `train`.
      seed: chooses the sentences. All splits keep the order of the file.

    Returns:
      All splits, and a note on what was done, or an empty string.
    """
    missing = [split for split in SPLITS if split not in rows]
    whole = rows["train"]
    total = len(whole.sentences)
    if not missing:
        return rows, ""
    names = " and ".join(missing)
    if total <= len(missing):
        note = f"{total} sentences are too few to hold out {names}: the same serve as {names} too"
        return {**rows, **{split: whole for split in missing}}, note
    size = max(1, round(HELD_OUT * total))
    order = np.random.default_rng(seed).permutation(total)
    parts = {split: order[i * size : (i + 1) * size] for i, split in enumerate(missing)}
    parts["train"] = order[len(missing) * size :]
    note = f"held out of the train file by seed {seed}: {size:,} sentences each for {names}"
    return {**rows, **{split: _take(whole, np.sort(part)) for split, part in parts.items()}}, note


def _take(rows: Rows, index: np.ndarray) -> Rows:
    labels = [rows.labels[i] for i in index] if rows.labels is not None else None
    return Rows([rows.sentences[i] for i in index], labels, 0)


def _columns(rows: Rows) -> dict:
    labels = {} if rows.labels is None else {"labels": rows.labels}
    return {"sentences": rows.sentences, **labels}
