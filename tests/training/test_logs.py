"""metrics.jsonl through kills, damage and resumes; the progress line."""

import json
from types import SimpleNamespace

import pytest

from jvae.errors import UserError
from jvae.training import logs
from jvae.training.logs import METRICS, MetricsLog, Progress, duration, read_metrics


def record(epoch: int, elbo: float = -10.0) -> dict:
    return {"epoch": epoch, "step": 10 * epoch, "elbo": elbo, "aggressive": epoch < 2}


def write(workdir, epochs, done: int = 0, elbo: float = -10.0) -> list[dict]:
    log = MetricsLog(workdir, done)
    for epoch in epochs:
        log.write(record(epoch, elbo))
    log.close()
    return log.history


def test_what_is_written_is_read(tmp_path):
    assert read_metrics(tmp_path) == []
    history = write(tmp_path, [1, 2, 3])
    assert read_metrics(tmp_path) == history == [record(1), record(2), record(3)]


def test_each_epoch_is_on_disk_at_once(tmp_path):
    log = MetricsLog(tmp_path, 0)
    for epoch in (1, 2):
        log.write(record(epoch))
        assert len(read_metrics(tmp_path)) == epoch
    log.close()


def test_a_resume_cuts_what_will_run_again(tmp_path):
    write(tmp_path, [1, 2, 3])
    # Epoch 3 was logged, but the process died before its checkpoint.
    history = write(tmp_path, [3, 4], done=2, elbo=-5.0)
    assert history == read_metrics(tmp_path)
    assert history == [record(1), record(2), record(3, -5.0), record(4, -5.0)]
    text = (tmp_path / METRICS).read_text()
    assert text.count('"epoch": 3,') == 1 and text.endswith("}\n")


def test_opening_a_log_again_doubles_nothing(tmp_path):
    write(tmp_path, [1, 2])
    before = (tmp_path / METRICS).read_bytes()
    write(tmp_path, [], done=2)
    assert (tmp_path / METRICS).read_bytes() == before


def test_a_new_run_in_an_old_directory_starts_an_empty_log(tmp_path):
    write(tmp_path, [1, 2])
    assert write(tmp_path, [1], done=0) == [record(1)] == read_metrics(tmp_path)


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_last_line_cut_by_a_kill_is_left_out(tmp_path, cut):
    write(tmp_path, [1, 2])
    path = tmp_path / METRICS
    line = json.dumps(record(3)).encode()
    path.write_bytes(path.read_bytes() + line[:cut])
    assert read_metrics(tmp_path) == [record(1), record(2)]
    write(tmp_path, [3], done=2)
    assert read_metrics(tmp_path) == [record(1), record(2), record(3)]


@pytest.mark.parametrize(
    "damage", [b'{"epoch": 2, "st\n', b"\n", b"7\n", b"[]\n", b'"epochs"\n', b"\xff\xfe\x00\n"]
)
def test_a_damaged_line_is_refused_by_number(tmp_path, damage):
    write(tmp_path, [1, 2, 3])
    path = tmp_path / METRICS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + damage + lines[2])
    with pytest.raises(UserError, match="damaged in line 2") as caught:
        read_metrics(tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    logs.write_atomically(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(logs.os, "fsync", full)
        with pytest.raises(UserError, match="results.json: No space left on device"):
            logs.write_atomically(path, "new")
    assert path.read_text() == "old"
    logs.write_atomically(path, "new")
    assert path.read_text() == "new"


def test_a_log_that_cannot_be_written_names_the_file(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path, 0)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(logs.os, "fsync", full)
        with pytest.raises(UserError, match="metrics.jsonl: No space left"):
            log.write(record(1))
    log.close()


def test_a_full_disk_for_tensorboard_ends_in_one_line_at_once(tmp_path):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

        flush = close = lambda self: None

    log = MetricsLog(tmp_path, 0)
    writer = log._board._events._py_recordio_writer
    writer._writer.close()
    writer._writer = Full()
    for epoch in range(1, 20):  # more than tensorboardX's own queue would take
        with pytest.raises(UserError, match=f"cannot write {tmp_path}: No space left on device"):
            log.write(record(epoch))
    assert len(read_metrics(tmp_path)) == 19
    log.close()


def test_tensorboard_holds_the_same_epochs(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    write(tmp_path, [1, 2])
    values = {}
    for path in tmp_path.glob("events.*"):
        data = path.read_bytes()
        while data:  # length (8), its checksum (4), the event, its checksum (4)
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            for value in event.summary.value:
                values[value.tag, event.step] = value.simple_value
            data = data[16 + size :]
    assert values["elbo", 1] == values["elbo", 2] == -10.0
    assert values["step", 1] == 10.0 and values["step", 2] == 20.0


def test_durations():
    assert [duration(s) for s in (0, 59.9, 61, 3599, 3600, 7325)] == [
        "0:00",
        "0:59",
        "1:01",
        "59:59",
        "1:00:00",
        "2:02:05",
    ]


def test_the_progress_line(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])
    lines: list[str] = []
    progress = Progress(lines.append, 10.0, 5, row="sentence", symbol="token")
    progress.start_epoch(0.0)
    totals = SimpleNamespace(
        loss=600.0,
        metrics={"kl": 200.0, "rec": 500.0},
        rows=100.0,
        symbols=1000.0,
        updates=10.0,
        inner_updates=70.0,
        inner_rows=300.0,
    )
    clock[0] += 9
    progress.update(2, 0.2, totals, aggressive=True)
    assert lines == [], "not yet"
    clock[0] += 11
    progress.update(2, 0.25, totals, aggressive=True)
    # 20 s for a quarter: 60 s more, then 3 epochs of 80 s.
    (line,) = lines
    assert "epoch 2/5  25%  loss 6.00  rec 5.00  kl 2.00  20 sentences/s  200 tokens/s" in line
    assert "7 inner updates each" in line and line.endswith("left: epoch 1:00, run at most 5:00")

    progress.start_epoch(0.5)  # resumed in mid-epoch: only what ran since counts
    clock[0] += 10
    progress.update(2, 0.75, totals, aggressive=False)
    assert "inner" not in lines[1] and lines[1].endswith("left: epoch 0:10, run at most 2:10")


def test_the_progress_line_takes_any_metrics_and_nouns(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])
    lines: list[str] = []
    progress = Progress(lines.append, 10.0, 1)
    progress.start_epoch(0.0)
    totals = SimpleNamespace(
        loss=3.0,
        metrics={"accuracy": 9.0},
        rows=10.0,
        symbols=20.0,
        updates=1.0,
        inner_updates=0.0,
        inner_rows=0.0,
    )
    clock[0] += 10
    progress.update(1, 0.5, totals, aggressive=False)
    [line] = lines
    assert "loss 0.30  accuracy 0.90  1 examples/s  2 symbols/s  left" in line
