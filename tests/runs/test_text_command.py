"""The command of own text from end to end, in a process of its own."""

import math

import pytest

from tests.tiny import command, execute, numbers


@pytest.mark.smoke
def test_a_tiny_run_ends_with_a_verdict(train, tmp_path):
    done = execute(command(train, tmp_path / "run", epochs=1))
    assert done.returncode == 0, done.stderr
    assert "verdict" in done.stdout
    history, results = numbers(tmp_path / "run")
    assert [record["epoch"] for record in history] == [1] and results["best_epoch"] == 1
    assert all(math.isfinite(results[name]) for name in ("elbo", "rec", "kl", "iw_nll"))
    assert results["elbo"] == pytest.approx(-results["rec"] - results["kl"])
