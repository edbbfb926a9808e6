"""He et al.'s picture: the encoder's mean against the model's own posterior mean, run by run.

    python -m jvae.experiments.posterior_picture --runs=runs/basic,runs/aggressive --output=p.png

Each run needs one latent dimension. Points on the diagonal: the encoder has caught up with the
model. A vertical line at 0: the model does without z. A horizontal one: the encoder lags.
"""

from pathlib import Path

import numpy as np
from absl import app, flags

from jvae.plots import posterior_mean_space
from jvae.runs.directory import load_run
from jvae.runs.flags import guarded
from jvae.runs.process import prepare_process
from jvae.tasks import get_task
from jvae.tasks.text.posterior_means import PosteriorMeans, posterior_means

_RUNS = flags.DEFINE_list("runs", None, "run directories, one panel each", required=True)
_OUTPUT = flags.DEFINE_string("output", "posterior_mean_space.png", "PNG file")


def panel(workdir: Path) -> tuple[str, PosteriorMeans]:
    """Computes the name and the means of a run."""
    run = load_run(workdir, get_task("text"))
    data = run.task.load(run.config, resources=run.resources, folder=workdir)
    return workdir.name, posterior_means(run, data)


def main(argv: list[str]) -> None:
    """Draws one panel per run."""
    del argv

    def draw() -> None:
        prepare_process()
        panels = [panel(Path(run)) for run in _RUNS.value]
        drawn = [(name, means.model, means.encoder) for name, means in panels]
        posterior_mean_space(drawn, Path(_OUTPUT.value))
        for name, means in panels:
            correlation = np.corrcoef(means.model, means.encoder)[0, 1]
            print(
                f"{name}: standard deviation of the model's means {means.model.std():.3f}, of the "
                f"encoder's {means.encoder.std():.3f}, correlation {correlation:.3f}"
            )

    guarded(draw)


if __name__ == "__main__":
    app.run(main)
