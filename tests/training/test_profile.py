"""A trace of the steps that were asked for, once."""

import jax.numpy as jnp

from jvae.training import profile
from jvae.training.profile import SKIPPED_STEPS, Profiler


def test_the_trace_covers_the_steps_after_the_first_ones(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(profile.jax.profiler, "start_trace", lambda folder: calls.append(folder))
    monkeypatch.setattr(profile.jax.profiler, "stop_trace", lambda: calls.append("stop"))
    profiler = Profiler(tmp_path, 3)
    for step in range(SKIPPED_STEPS + 10):
        profiler.before_step()
        expected = [] if step < SKIPPED_STEPS else [str(tmp_path)]
        assert calls == expected + ["stop"] * (step >= SKIPPED_STEPS + 3)
        profiler.after_step(jnp.zeros(1))
    profiler.close()
    assert calls == [str(tmp_path), "stop"]
    assert profiler.summary == f"profile  3 steps, after the first {SKIPPED_STEPS}: {tmp_path}"


def test_a_run_that_ends_early_ends_its_trace(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(profile.jax.profiler, "start_trace", lambda folder: calls.append("start"))
    monkeypatch.setattr(profile.jax.profiler, "stop_trace", lambda: calls.append("stop"))
    profiler = Profiler(tmp_path, 30)
    for _ in range(SKIPPED_STEPS):
        profiler.before_step()
        profiler.after_step(jnp.zeros(1))
    assert calls == []
    assert "no step was traced" in profiler.summary
    assert f"this one made {SKIPPED_STEPS}" in profiler.summary
    profiler.before_step()
    profiler.after_step(jnp.zeros(1))
    profiler.close()
    assert calls == ["start", "stop"]
    assert profiler.summary.startswith("profile  1 steps, ")


def test_nothing_is_traced_unless_asked(tmp_path):
    profiler = Profiler(tmp_path / "profile", 0)
    for _ in range(SKIPPED_STEPS + 2):
        profiler.before_step()
        profiler.after_step(jnp.zeros(1))
    profiler.close()
    assert not (tmp_path / "profile").exists() and profiler.summary == ""
