"""Files that are written aside and renamed into place, so that a failure leaves the old one."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from jvae.errors import UserError


@contextmanager
def replacing(
    path: str | Path, advice: str = "free some space or name another file"
) -> Iterator[IO[bytes]]:
    """Yields a binary file that takes the place of `path` once the block has ended well.

    Args:
      path: a file that may exist, which any failure leaves as it is.
      advice: what to do if it cannot be written.

    Raises:
      UserError: the folder is full, missing or not writable.
    """
    target = Path(path).resolve()  # a link goes on pointing to its file
    in_place = target.exists() and not target.is_file()  # a pipe, say
    aside = target if in_place else target.with_name(target.name + ".tmp")
    try:
        try:
            with open(aside, "wb") as file:
                yield file
                file.flush()
                if not in_place:
                    os.fsync(file.fileno())
            if not in_place:
                os.replace(aside, target)
        except BaseException:
            if not in_place:
                with contextlib.suppress(OSError):
                    aside.unlink()
            raise
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; {advice}") from error


def write_atomically(path: Path, text: str) -> None:
    """Writes a file of a run directory such that a kill leaves either the old one or the new one.

    Raises:
      UserError: the folder is full or not writable.
    """
    with replacing(path, "free some space or choose another --workdir") as file:
        file.write(text.encode())
