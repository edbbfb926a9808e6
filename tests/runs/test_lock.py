"""A run directory belongs to one job at a time."""

import subprocess
import sys

import pytest

from jvae.errors import UserError
from jvae.runs.lock import LOCK, locked

HOLD = """
import sys, time
from pathlib import Path
from jvae.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_job_is_told_who_holds_the_directory_and_a_killed_one_holds_nothing(tmp_path):
    run = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, run], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            says = rf"{run} is in use by process {holder.pid} on .*: wait .* another --workdir$"
            with pytest.raises(UserError, match=says), locked(run):
                pass
        finally:
            holder.kill()
    assert (run / LOCK).read_text(), "the killed job leaves its name"
    with locked(run):
        pass


def test_the_lock_ends_with_its_job_and_a_damaged_file_of_it_is_no_obstacle(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path):
            raise KeyError
    (tmp_path / LOCK).write_bytes(b"\xff\x00 nothing")
    with locked(tmp_path), pytest.raises(UserError, match="is in use by process"), locked(tmp_path):
        pass


def test_a_job_that_has_not_yet_written_its_name(tmp_path):
    with locked(tmp_path):
        (tmp_path / LOCK).write_text("")
        with pytest.raises(UserError, match="in use by another job"), locked(tmp_path):
            pass
