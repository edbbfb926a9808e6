"""Logs: metrics.jsonl, TensorBoard, and lines of progress on the terminal."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jvae.errors import UserError
from jvae.files import write_atomically

METRICS = "metrics.jsonl"


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """Reads the epochs logged so far, oldest first.

    Raises:
      UserError: a line is not JSON; a last line cut off by a kill is left out.
    """
    path = Path(workdir) / METRICS
    if not path.exists():
        return []
    # Bytes that are no text fail as JSON, in their line.
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines(keepends=True)
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or "epoch" not in record:
                raise ValueError("not the record of an epoch")
            records.append(record)
        except ValueError as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise UserError(
                f"{path} is damaged in line {number}: {error}; delete that line to continue"
            ) from error
    return records


class MetricsLog:
    """One JSON line per epoch, and the same numbers for TensorBoard.

    On resume, epochs after the restored checkpoint are cut from both: they will be run again and
    logged again, so that no line is doubled or lost.
    """

    def __init__(self, workdir: Path, epochs_done: int):
        """Opens the log of a run that has finished `epochs_done` epochs."""
        self._path = Path(workdir) / METRICS
        self.history = [r for r in read_metrics(workdir) if r["epoch"] <= epochs_done]
        write_atomically(self._path, "".join(_line(record) for record in self.history))
        with _needs_space(Path(workdir)):
            self._board = Board(workdir, epochs_done + 1)

    def write(self, record: dict[str, Any]) -> None:
        """Appends an epoch.

        Raises:
          UserError: the folder is full or not writable.
        """
        self.history.append(record)
        with _needs_space(self._path), open(self._path, "a", encoding="utf-8") as file:
            file.write(_line(record))
            file.flush()
            os.fsync(file.fileno())
        with _needs_space(self._path.parent):
            self._board.write(record)

    def close(self) -> None:
        """Closes the TensorBoard file."""
        self._board.close()


class Board:
    """A TensorBoard file, written at once.

    tensorboardX's own SummaryWriter writes from a thread, which dies of a full disk and leaves its
    caller waiting.
    """

    def __init__(self, folder: Path, first_epoch: int):
        """Makes TensorBoard forget what earlier files say of `first_epoch` and later."""
        # Imported here: it costs start-up time that inference does not need.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._events = EventsWriter(str(Path(folder) / "events"))
        start = SessionLog(status=SessionLog.START)
        self._events.write_event(Event(wall_time=time.time(), step=first_epoch, session_log=start))
        self._events.flush()

    def write(self, record: dict[str, Any]) -> None:
        """Writes the numbers of an epoch."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in record.items():
            if isinstance(value, int | float):
                event = Event(
                    wall_time=time.time(), step=record["epoch"], summary=scalar(name, value)
                )
                self._events.write_event(event)
        self._events.flush()

    def close(self) -> None:
        """Closes the file."""
        self._events.close()


@contextmanager
def _needs_space(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; free some space") from error


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"


class Progress:
    """Prints a line every few seconds: progress, metrics, speed, time left."""

    def __init__(
        self,
        print_line: Callable[[str], None],
        every_seconds: float,
        num_epochs: int,
        *,
        row: str = "example",
        symbol: str = "symbol",
    ):
        """`num_epochs` is the most that the run can take; `row` and `symbol` are nouns."""
        self._row, self._symbol = row, symbol
        self._print, self._every, self._num_epochs = print_line, every_seconds, num_epochs
        self._start = self._last = time.monotonic()
        self._first = 0.0

    def start_epoch(self, share_done: float) -> None:
        """Marks the clock at `share_done` of the epoch (above 0 after a resume in mid-epoch)."""
        self._start = self._last = time.monotonic()
        self._first = share_done

    def update(self, epoch: int, share: float, totals: Any, *, aggressive: bool) -> None:
        """Prints if it is time to; `totals` are the epoch's sums as floats."""
        now = time.monotonic()
        if now - self._last < self._every:
            return
        self._last = now
        elapsed = now - self._start
        done = max(share - self._first, 1e-9)
        epoch_left = elapsed * (1 - share) / done
        run_left = epoch_left + (self._num_epochs - epoch) * elapsed / done
        rows = totals.rows + totals.inner_rows
        share_of_epoch = done / max(share, 1e-9)  # the sums include what ran before a resume
        rate = share_of_epoch * rows / elapsed
        symbols_rate = rate * totals.symbols / max(totals.rows, 1.0)
        metrics = "  ".join(
            f"{name} {total / totals.rows:.2f}"
            for name, total in sorted(totals.metrics.items(), reverse=True)
        )
        inner = f", {totals.inner_updates / totals.updates:.0f} inner updates each"
        self._print(
            f"epoch {epoch}/{self._num_epochs} {share:4.0%}  "
            f"loss {totals.loss / totals.rows:.2f}  {metrics}  {rate:,.0f} {self._row}s/s  "
            f"{symbols_rate:,.0f} {self._symbol}s/s{inner if aggressive else ''}  "
            f"left: epoch {duration(epoch_left)}, run at most {duration(run_left)}"
        )


def duration(seconds: float) -> str:
    """Writes `h:mm:ss`, or `m:ss` below an hour."""
    minutes, secs = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"
