"""Training with rounded factors; evaluation without."""

import json

import numpy as np

from jvae.experiments.cli import main
from tests.experiments.conftest import run_tiny, tiny_config, training_only


def test_rounding_changes_training_a_little_and_evaluation_not_at_all(train, tmp_path, one_device):
    def config(precision: str):
        options = {"training__epochs": 1, "training__aggressive": False}
        return tiny_config(train, training__precision=precision, **options)

    with training_only():  # only its loss is asked for
        run_tiny(config("float32"), tmp_path / "float32")
    workdir = tmp_path / "bfloat16"
    before, _ = run_tiny(config("bfloat16"), workdir)
    losses = [
        json.loads((tmp_path / precision / "metrics.jsonl").read_text())["train_rec"]
        for precision in ("float32", "bfloat16")
    ]
    assert losses[1] != losses[0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.02)

    # A trained run reports the same numbers whatever precision it is said to be trained in.
    path = workdir / "config.json"
    path.write_text(path.read_text().replace("bfloat16", "float32"))
    main(["evaluate", str(workdir)])
    after = json.loads((workdir / "results.json").read_text())
    assert [after[name] for name in ("elbo", "iw_nll")] == [before["elbo"], before["iw_nll"]]
