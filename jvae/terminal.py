"""Standard output that takes any text, and a reader that leaves early."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def accept_any_text() -> None:
    """Has standard output and error write `?` for what their encoding lacks, and not fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's takes all
            stream.reconfigure(errors="replace")


@contextmanager
def terminal() -> Iterator[None]:
    """Lets a program print in its block: any text, and until the reader leaves (as `head` does).

    Raises:
      SystemExit: the reader has left; nothing is said of it.
    """
    accept_any_text()
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        sys.exit(1)


def discard_output() -> None:
    """Sends what is left of standard output nowhere: Python writes it once more at its end."""
    with contextlib.suppress(OSError, ValueError):  # of a stream without a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
