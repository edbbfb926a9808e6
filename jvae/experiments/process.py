"""What the process is set to before it works: where programs are kept, and freed memory."""

import ctypes
import os
import sys
from pathlib import Path

import jax
import jax.monitoring

# mallopt's names for its parameters (malloc.h); the two limits' largest value.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX, _NEVER = -1, -4, -8, 2**31 - 1


class Compilations:
    """Counts the programs that JAX compiles within a block, and the seconds that this takes.

    Attributes:
      programs: compiled, or loaded from the cache.
      seconds: tracing, lowering and compiling (or loading) them.
    """

    def __init__(self) -> None:
        self.programs = 0
        self.seconds = 0.0

    def _note(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            self.seconds += duration_secs
            self.programs += event.endswith("/backend_compile_duration")

    def __enter__(self) -> "Compilations":
        jax.monitoring.register_event_duration_secs_listener(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._note)

    def __str__(self) -> str:
        return f"{self.programs} programs compiled or loaded in {self.seconds:.1f} s"


def prepare_process() -> None:
    """Before JAX is asked for its devices."""
    _use_compilation_cache()
    keep_freed_memory()


def _use_compilation_cache() -> None:
    """Keeps compiled programs between runs; JAX_ENABLE_COMPILATION_CACHE=false switches it off."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        root = os.environ.get("JVAE_CACHE_DIR") or Path.home() / ".cache" / "jvae"
        jax.config.update("jax_compilation_cache_dir", str(Path(root) / "xla"))
    if not os.environ.get("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        # Many programs are small: by default, below a second each, they would be compiled anew.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)


def keep_freed_memory() -> None:
    """Has glibc keep freed memory for the next step instead of returning it to the system.

    A step's work space is one block of many megabytes. Taken anew from the system at every step,
    each of its pages must be zeroed and mapped first, which costs a CPU step about a tenth of its
    time (BUILD_NOTES, "Measurements"). The process keeps the size of its peak instead.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _NEVER)
        mallopt(_ARENA_MAX, 1)  # the arenas of other threads would still come from mmap
