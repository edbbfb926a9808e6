"""The checks of `eight_devices.py`, in a process of their own: this one has four devices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKS = Path(__file__).with_name("eight_devices.py")


@pytest.mark.slow
def test_eight_devices_and_shards_of_the_vocabulary():
    flags = os.environ.get("XLA_FLAGS", "").split()
    kept = [flag for flag in flags if "device_count" not in flag]
    environment = {"XLA_FLAGS": " ".join([*kept, "--xla_force_host_platform_device_count=8"])}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", str(CHECKS)],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | environment,
        cwd=CHECKS.parents[2],
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
