"""Training with rounded factors, through the command line."""

import numpy as np

from tests.experiments.setting import command, execute, numbers, write_sentences


def test_rounding_changes_training_a_little_and_evaluation_not_at_all(tmp_path):
    train = write_sentences(tmp_path / "train.txt")
    found = {}
    for precision in ("float32", "bfloat16"):
        workdir = tmp_path / precision
        arguments = command(train, workdir, f"--config.training.precision={precision}", epochs=1)
        assert execute(arguments).returncode == 0
        found[precision], _ = numbers(workdir)
    exact, rounded = (found[name][0]["train_rec"] for name in ("float32", "bfloat16"))
    assert exact != rounded
    np.testing.assert_allclose(rounded, exact, rtol=0.02)

    # A trained run reports the same numbers whatever precision it is said to have been trained in.
    workdir = tmp_path / "bfloat16"
    _, before = numbers(workdir)
    path = workdir / "config.json"
    path.write_text(path.read_text().replace("bfloat16", "float32"))
    done = execute([arguments[0], "-m", "jvae.experiments.cli", "evaluate", str(workdir)])
    assert done.returncode == 0, done.stderr
    _, after = numbers(workdir)
    assert after["elbo"] == before["elbo"] and after["iw_nll"] == before["iw_nll"]
