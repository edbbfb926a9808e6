"""The common part of the TFDS builders of all corpora.

TensorFlow is never imported: builders write array_record files and read them as a data source.
This module imports tensorflow_datasets, so import it inside functions only.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

SPLITS = ("train", "valid", "test")
# TFDS spends about 40 us per record, whatever its size: a record for each sentence would make the
# second start of a large corpus take seconds.
_BLOCK = 1000


class Contents(NamedTuple):
    """A corpus as its source gives it.

    Attributes:
      splits: split -> column -> rows, at least one; the columns are `sentences` and, where the
        corpus has them, `labels` (both strings without line feed) and `latents` (`[N, 2]`
        float64).
      notes: one line for each thing that was filtered, dropped or decided.
    """

    splits: dict[str, dict[str, Any]]
    notes: tuple[str, ...]


class _Info(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """Does nothing: TFDS would look for its corpora, and leave an empty directory in /tmp."""


class SentenceBuilder(  # type: ignore[call-arg]
    tfds.core.GeneratorBasedBuilder, skip_registration=True
):
    """A corpus of single sentences; a subclass says what is in it (`contents`).

    A record is a block of sentences, in the corpus' order. The notes travel as TFDS metadata.
    """

    VERSION = tfds.core.Version("1.0.0")
    # TFDS would look for a checksum file, by a package that it needs but does not require
    # (importlib_resources); our sources check their own.
    url_infos = None
    columns: tuple[str, ...] = ("sentences",)

    def contents(self) -> Contents:
        """Reads the source; called only when the corpus has to be prepared."""
        raise NotImplementedError

    def _info(self) -> _Info:
        lines = tfds.features.Text()
        points = tfds.features.Tensor(shape=(None, 2), dtype=np.float64)
        features = {name: points if name == "latents" else lines for name in self.columns}
        return _Info(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
        del dl_manager  # It checks neither time limits nor our checksums: see ptb.py.
        contents = self.contents()
        self.info.metadata["notes"] = list(contents.notes)
        return {split: self._generate_examples(contents.splits[split]) for split in SPLITS}

    def _generate_examples(self, rows: dict[str, Any]) -> Iterator[tuple[int, dict]]:
        for start in range(0, len(rows["sentences"]), _BLOCK):
            yield start, {name: _pack(rows[name][start : start + _BLOCK]) for name in self.columns}

    def prepared(self) -> Contents:
        """Reads the prepared files."""
        splits = {}
        for split in SPLITS:
            blocks = list(self.as_data_source(split=split))
            splits[split] = {name: _unpack([b[name] for b in blocks]) for name in self.columns}
        return Contents(splits, tuple(self.info.metadata["notes"]))


def fingerprint(splits: dict[str, dict[str, Any]]) -> str:
    """Computes SHA-256 over all sentences of all splits, in order."""
    digest = hashlib.sha256()
    for split in SPLITS:
        sentences = splits[split]["sentences"]
        digest.update(f"{split} {len(sentences)}\n".encode())
        # No sentence holds a line feed, so this joins without ambiguity.
        digest.update("\n".join(sentences).encode())
    return digest.hexdigest()


def _pack(rows: Any) -> Any:
    """Lines of text as one text: NumPy would pad an array of them to the longest."""
    return rows if isinstance(rows, np.ndarray) else "\n".join(rows)


def _unpack(blocks: list[Any]) -> Any:
    if isinstance(blocks[0], np.ndarray):
        return np.concatenate(blocks)
    return [row for block in blocks for row in block.decode("utf-8").split("\n")]
