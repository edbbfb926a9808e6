"""The process: its compilation cache, freed memory, compilation times, and environment."""

import ctypes
import os
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.monitoring

from jvae.errors import UserError

# mallopt's names for its parameters (malloc.h); the two limits' largest value.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX, _NEVER = -1, -4, -8, 2**31 - 1


def environment() -> dict[str, Any]:
    """Collects what a number depends on beside the configuration: versions, devices, commit."""
    packages = ("jvae", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": {name: metadata.version(name) for name in packages},
        "devices": [str(device.device_kind) for device in jax.local_devices()],
        "commit": git_commit(),
    }


def git_commit() -> str | None:
    """Returns the source's commit, with `+` if files were changed, or None outside a checkout."""
    source = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(source), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


class Compilations:
    """Counts the functions that JAX compiles within a block, and the seconds that this takes.

    Attributes:
      functions: compiled, or loaded from the cache.
      seconds: tracing, lowering and compiling (or loading) them.
    """

    def __init__(self) -> None:
        self.functions = 0
        self.seconds = 0.0

    def _note(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            self.seconds += duration_secs
            self.functions += event.endswith("/backend_compile_duration")

    def __enter__(self) -> "Compilations":
        jax.monitoring.register_event_duration_secs_listener(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._note)

    def __str__(self) -> str:
        return f"{self.functions} functions compiled or loaded in {self.seconds:.1f} s"


def prepare_process() -> None:
    """Sets cache and memory up, before JAX is asked for its devices."""
    _use_compilation_cache()
    keep_freed_memory()


def require_devices() -> None:
    """Starts JAX's platforms, after `join_processes` where there are several processes.

    Raises:
      UserError: JAX_PLATFORMS names one that is not there.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts that a known plug-in is installed
        asked = getattr(jax.config, "jax_platforms", None)
        if not asked:
            raise
        raise UserError(
            f"JAX_PLATFORMS={asked} asks for devices that this machine, or the installed JAX, does "
            "not have: set JAX_PLATFORMS=cpu, or unset it for the best that is there"
        ) from error


def _use_compilation_cache() -> None:
    """Keeps compiled functions between runs; JAX_ENABLE_COMPILATION_CACHE=false switches it off."""
    folder = _cache_folder()
    # JAX would warn of a folder that it cannot use at each function.
    usable = folder is not None and ("://" in folder or _can_write(Path(folder)))
    jax.config.update("jax_compilation_cache_dir", folder if usable else None)
    if not os.environ.get("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        # Many functions are small: by default, below a second each, they would be compiled anew.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)


def _cache_folder() -> str | None:
    """Returns the folder (or the address) of compiled functions, None for a user without a home."""
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if named:
        return named
    try:
        root = os.environ.get("JVAE_CACHE_DIR") or Path.home() / ".cache" / "jvae"
    except RuntimeError:
        return None
    return str(Path(root) / "xla")


def _can_write(folder: Path) -> bool:
    """Makes a folder, and tells whether files can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def keep_freed_memory() -> None:
    """Has glibc keep freed memory for the next step instead of returning it to the system.

    A step's work space is one block of many megabytes. Taken anew from the system at every step,
    each of its pages must be zeroed and mapped first, which costs a CPU step about a tenth of its
    time (benchmarks/results/README.md). The process keeps the size of its peak instead.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _NEVER)
        mallopt(_ARENA_MAX, 1)  # the arenas of other threads would still come from mmap
