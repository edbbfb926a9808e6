"""What is compiled, and when."""

import io
from collections import Counter

import jax.monitoring
import pytest
from rich.console import Console

from jvae.experiments.runner import run
from tests.experiments.conftest import tiny_config


@pytest.mark.slow
def test_nothing_is_compiled_after_the_first_epoch(train, tmp_path):
    config = tiny_config(train, data__max_buckets=2)
    config.training.epochs = 3
    config.training.aggressive_epochs = 2  # also not when the phase ends
    shown, names = io.StringIO(), Counter()

    def note(event: str, duration_secs: float, fun_name: str = "", **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            shown.write("(compiled)\n")
            names[fun_name] += 1

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        run(config, tmp_path / "run", Console(file=shown, width=120))
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    lines = shown.getvalue().splitlines()
    ends = [number for number, line in enumerate(lines) if ": valid elbo " in line]
    assert len(ends) == 3
    assert lines[: ends[0]].count("(compiled)") > 5  # they are seen
    assert "(compiled)" not in lines[ends[0] : ends[2]]

    # What was compiled for its memory is what runs: one program for each width.
    for name in ("reconstruction", "log_weights"):
        assert names[f"jit({name})"] == 2, names

    compiled = lines.count("(compiled)")
    assert f" {compiled} programs compiled or loaded in " in lines[-1]
