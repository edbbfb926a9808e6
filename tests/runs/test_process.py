"""What a run sets its process to."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from pathlib import Path

import numpy as np

if sys.argv[1] == "kept":
    from jvae.runs.process import keep_freed_memory
    keep_freed_memory()


def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


before = resident()
block = np.ones(2**23)  # 64 MB
del block
print(resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
@pytest.mark.parametrize("mode", ["kept", "returned"])
def test_freed_memory_is_kept(mode):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=True
    )
    if mode == "kept":
        assert float(done.stdout) > 60
    else:
        assert float(done.stdout) < 10
