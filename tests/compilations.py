"""Counts what each test file compiles, and bounds it; lets go of programs before memory runs out.

Nearly all of the tests' time is compilation. The count is of requests to XLA's compiler, those that
the cache on disk answers too: it does not depend on what ran before on this machine.
"""

import ctypes
import gc
from collections import Counter
from pathlib import Path

import jax
import pytest

# Half as much again as the largest file's count; a file above it shares too little.
LIMIT = 600
EVENT = "/jax/core/compile/backend_compile_duration"
NAME = "compilations"
MEMORY = 1000 * 2**20  # bytes, above which a file's end lets go of all programs
STATM = Path("/proc/self/statm")

_in_this_process = 0
_by_file: Counter[str] = Counter()


def _listen(event: str, seconds: float, **_: object) -> None:
    global _in_this_process
    _in_this_process += event == EVENT


jax.monitoring.register_event_duration_secs_listener(_listen)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Gives each test's last report its count, which pytest-xdist carries to the controller."""
    item.compiled_before = _in_this_process
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "teardown":
        report.user_properties.append((NAME, _in_this_process - item.compiled_before))
    return report


def pytest_runtest_logreport(report):
    if report.when == "teardown":
        _by_file[report.nodeid.partition("::")[0]] += dict(report.user_properties).get(NAME, 0)


def pytest_sessionfinish(session, exitstatus):
    """Fails the session for a file above the limit."""
    if exitstatus == pytest.ExitCode.OK and any(n > LIMIT for n in _by_file.values()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    total = sum(_by_file.values())
    if not total:
        return
    terminalreporter.section(f"{total} programs compiled; the limit of a file is {LIMIT}")
    shown = None if terminalreporter.verbosity > 0 else 10
    for file, number in _by_file.most_common(shown):
        above = "  ABOVE THE LIMIT" if number > LIMIT else ""
        terminalreporter.line(f"{number:6d} {file}{above}")


def _resident() -> int:
    """Returns the bytes of this process in memory; 0 where the system has no `/proc`."""
    return int(STATM.read_text().split()[1]) * 4096 if STATM.exists() else 0


@pytest.fixture(scope="module", autouse=True)
def programs_do_not_pile_up():
    """Lets go of compiled programs between files; those still needed return from the disk."""
    yield
    if _resident() > MEMORY:
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory otherwise
