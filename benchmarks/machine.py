"""What the machine is, what it can do at most, and whether someone else is using it."""

import os
import platform
import time
from importlib import metadata
from pathlib import Path

from benchmarks.device import synchronise


def describe() -> dict:
    """Processor, memory, versions."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in _read("/proc/cpuinfo").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = next(
        (line.split()[1] for line in _read("/proc/meminfo").splitlines() if "MemTotal" in line), "0"
    )
    versions = {}
    for name in ("jvae", "jax", "jaxlib", "flax", "torch", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(memory) / 2**20, 1),
        "python": platform.python_version(),
        "versions": versions,
    }


def _read(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""


class Clock:
    """Wall time of a block, and how many cores other processes used meanwhile."""

    def __enter__(self) -> "Clock":
        self._start = time.perf_counter(), _busy(), sum(os.times()[:4])
        return self

    def __exit__(self, *_: object) -> None:
        start, busy, own = self._start
        self.seconds = time.perf_counter() - start
        own_used = sum(os.times()[:4]) - own
        self.foreign = max(0.0, (_busy() - busy - own_used) / self.seconds)


def _busy() -> float:
    """Seconds that all processors together have worked since boot; 0 where /proc is missing."""
    words = _read("/proc/stat").split("\n", 1)[0].split()[1:9]
    if not words:
        return 0.0
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, words)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def matmul_peak(framework: str, device: str) -> float:
    """GFLOP/s of the best of ten float32 products of 2048 x 2048 matrices, on a GPU 8192 x 8192."""
    size = 8192 if device == "cuda" else 2048
    if framework == "jvae":
        import jax
        import jax.numpy as jnp

        x = jnp.ones((size, size))
        product = jax.jit(jnp.matmul)

        def run() -> None:
            product(x, x).block_until_ready()
    else:
        import torch

        y = torch.ones(size, size, device=device)

        def run() -> None:
            y @ y
            synchronise(device)

    run()
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9
