"""A trace of some training steps, for TensorBoard or Perfetto."""

from pathlib import Path
from typing import Any

import jax

SKIPPED_STEPS = 10  # the first ones compile, and the next warm the caches up


class Profiler:
    """Traces `num_steps` steps of this process, once; with 0 it does nothing."""

    def __init__(self, folder: Path, num_steps: int):
        """The trace is written under `folder`."""
        self._folder = str(folder)
        self._first, self._last = SKIPPED_STEPS, SKIPPED_STEPS + num_steps
        self._steps = 0
        self._tracing = False

    def before_step(self) -> None:
        """Starts the trace when it is time to."""
        if self._steps == self._first < self._last:
            jax.profiler.start_trace(self._folder)
            self._tracing = True

    def after_step(self, state: Any) -> None:
        """Ends the trace once the last traced step has finished on the device."""
        self._steps += 1
        if self._tracing and self._steps == self._last:
            jax.block_until_ready(state)
            self.close()

    def close(self) -> None:
        """Ends a trace that the run did not fill."""
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False
