"""One job at a time in a run directory."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from jvae.errors import UserError
from jvae.runs.directory import make_workdir

try:
    import fcntl
except ImportError:  # Windows, where directories stay unlocked
    fcntl = None  # type: ignore[assignment]

LOCK = ".in_use"


@contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Holds a run directory, so that a second job can neither mix its files nor sweep its saves.

    The operating system holds the lock and drops it when the process ends, however it ends: the
    file that stays behind a killed job holds nothing. It only names the holder. Commands that read
    a run take no lock.

    Args:
      workdir: the run directory, which is made.

    Raises:
      UserError: another job holds it, or it cannot be written.
    """
    make_workdir(workdir)
    with open(workdir / LOCK, "a+", encoding="utf-8") as file:
        _take(file, workdir)
        file.seek(0)
        file.truncate()
        json.dump({"process": os.getpid(), "host": socket.gethostname()}, file)
        file.flush()
        yield


def _take(file: TextIO, workdir: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(
            f"{workdir} is in use by {_holder(file)}: wait until that job ends, or give this one "
            "another --workdir"
        ) from error
    except OSError:  # a file system without locks
        return


def _holder(file: TextIO) -> str:
    """Names the job in a lock's file; one that is just being written names none."""
    file.seek(0)
    try:
        holder = json.load(file)
        return f"process {holder['process']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return "another job"
