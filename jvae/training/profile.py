"""A trace of some training steps, for TensorBoard or Perfetto."""

from pathlib import Path
from typing import Any

import jax

SKIPPED_STEPS = 10  # the first ones compile, and the next warm the caches up


class Profiler:
    """Traces `num_steps` steps of this process, once; with 0 it does nothing."""

    def __init__(self, folder: Path, num_steps: int):
        """Prepares a trace under `folder`."""
        self._folder = str(folder)
        self._first, self._last = SKIPPED_STEPS, SKIPPED_STEPS + num_steps
        self._steps = self._traced = 0
        self._tracing = False

    def before_step(self) -> None:
        """Starts the trace when it is time to."""
        if self._steps == self._first < self._last:
            jax.profiler.start_trace(self._folder)
            self._tracing = True

    def after_step(self, state: Any) -> None:
        """Ends the trace once the last traced step has finished on the device."""
        self._steps += 1
        self._traced += self._tracing
        if self._tracing and self._steps == self._last:
            jax.block_until_ready(state)
            self.close()

    @property
    def summary(self) -> str:
        """Returns one line for the end of the run; empty if no step was traced."""
        if self._first == self._last:
            return ""
        if not self._traced:
            return (
                f"profile  no step was traced: the first {SKIPPED_STEPS} of a process are left "
                f"out, and this one made {self._steps}"
            )
        return f"profile  {self._traced} steps, after the first {SKIPPED_STEPS}: {self._folder}"

    def close(self) -> None:
        """Ends a trace that the run did not fill."""
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False
