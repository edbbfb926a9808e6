"""Training with rounded factors; evaluation without."""

import json

import numpy as np

from jvae.experiments import runner
from jvae.experiments.cli import main
from tests.experiments.conftest import run_tiny, tiny_config


def test_rounding_changes_training_a_little_and_evaluation_not_at_all(train, tmp_path, monkeypatch):
    losses, workdir = {}, tmp_path / "run"
    options = {"training__epochs": 1, "training__aggressive": False}
    for precision in ("float32", "bfloat16"):
        workdir = tmp_path / precision
        config = tiny_config(train, training__precision=precision, **options)
        with monkeypatch.context() as patch:
            if precision == "float32":  # only its loss is asked for
                patch.setattr(runner, "evaluate_run", lambda *arguments: {})
            before, _ = run_tiny(config, workdir)
        record = json.loads((workdir / "metrics.jsonl").read_text())
        losses[precision] = record["train_rec"]
    assert losses["bfloat16"] != losses["float32"]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.02)

    # A trained run reports the same numbers whatever precision it is said to be trained in.
    path = workdir / "config.json"
    path.write_text(path.read_text().replace("bfloat16", "float32"))
    main(["evaluate", str(workdir)])
    after = json.loads((workdir / "results.json").read_text())
    for name in ("elbo", "iw_nll"):  # on another number of devices, hence not to the last bit
        np.testing.assert_allclose(after[name], before[name], rtol=1e-6)
