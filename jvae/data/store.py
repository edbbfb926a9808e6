"""Token ids end to end, in memory or in a file, and as the padded rows that the models read."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from jvae.batch import BOS, PAD
from jvae.errors import UserError


def pad(flat: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
    """Sentences without `<s>`, end to end, as rows `[N, width + 1]` int32 that start with `<s>`.

    Args:
      flat: `[sum(lengths)]`.
      lengths: `[N]`, tokens of each sentence with its `</s>`.
      width: the longest row's, at least.
    """
    tokens = np.full((len(lengths), width + 1), PAD, np.int32)
    tokens[:, 0] = BOS
    tokens[:, 1:][np.arange(width) < lengths[:, None]] = flat
    return tokens


class StoredTokens:
    """`jvae.data.Split.tokens` on disk: `stored[index]` reads the rows `[n, T + 1]`.

    The file has no name: nobody meets half of it, and it goes with this object or its process. It
    is read by position rather than mapped: the pages of a map count as the process' memory, and
    an epoch in random order would collect them all. Memory holds 8 bytes for each sentence.
    """

    def __init__(self, folder: Path, dtype: type):
        """Opens an empty file on the disk of `folder`.

        Raises:
          UserError: it cannot be written.
        """
        self._dtype = np.dtype(dtype)
        with _full_disk(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # kept open
        self._folder = folder

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def append(self, flat: np.ndarray) -> None:
        """Adds sentences without `<s>`, end to end.

        Raises:
          UserError: the disk is full.
        """
        with _full_disk(self._folder):
            self._file.write(flat.astype(self._dtype).tobytes())
            self._file.flush()

    def seal(self, lengths: np.ndarray) -> None:
        """Says where the sentences end: `lengths` `[N]`, with `</s>`. Then they can be read."""
        self._lengths = lengths
        self._starts = np.cumsum(lengths, dtype=np.int64) - lengths
        self.shape = (len(lengths), int(lengths.max()) + 1)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """Reads rows, `[n]` -> `[n, T + 1]` int32; safe in threads."""
        lengths, size = self._lengths[index], self._dtype.itemsize
        number = self._file.fileno()
        places = zip((lengths * size).tolist(), (self._starts[index] * size).tolist(), strict=True)
        read = b"".join([os.pread(number, length, start) for length, start in places])
        return pad(np.frombuffer(read, self._dtype), lengths, self.shape[1] - 1)


@contextmanager
def _full_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"data.stream cannot keep the training sentences in {folder}: {error.strerror}; make "
            "room there, or choose another --workdir"
        ) from error
