"""He et al.'s picture: the encoder's mean against the model's own posterior mean, run by run.

    python -m jvae.experiments.posterior_picture --runs=runs/basic,runs/aggressive --output=p.png

Each run needs one latent dimension. Points on the diagonal: the encoder has caught up with the
model. A vertical line at 0: the model does without z. A horizontal one: the encoder lags.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from jvae import plots
from jvae.errors import UserError
from jvae.evaluation.corpus import collect
from jvae.evaluation.posterior_grid import model_posterior_mean
from jvae.evaluation.programs import SplitBatches, make_programs
from jvae.experiments.command import guarded
from jvae.experiments.process import prepare_process
from jvae.experiments.setup import encode_corpus, load_data_corpus, load_run

GRID = np.arange(-20.0, 20.0, 0.1)
SENTENCES = 500  # as in the paper's figure

_RUNS = flags.DEFINE_list("runs", None, "run directories, one panel each", required=True)
_OUTPUT = flags.DEFINE_string("output", "posterior_mean_space.png", "PNG file")


def posterior_means(workdir: Path) -> tuple[str, np.ndarray, np.ndarray]:
    """A panel: the run's name, the model's posterior means and the encoder's, `[N]` each."""
    run = load_run(workdir)
    if run.config.model.latent_size != 1:
        raise UserError(
            f"{workdir} has {run.config.model.latent_size} latent dimensions: the grid needs 1"
        )
    data = encode_corpus(run.config, load_data_corpus(run.config), run.tokenizer, workdir)
    split = data.splits[run.config.evaluation.split]
    test = split.first(SENTENCES)
    number = len(test)
    batches = SplitBatches(test, data.buckets.widths, 50)
    key = jax.random.key(run.config.training.seed)
    by_grid = jax.jit(partial(model_posterior_mean, run.model, grid=jnp.asarray(GRID), key=key))
    model_mean = collect(lambda batch: by_grid(run.params, batch), batches, number)
    terms = make_programs(run.model).posterior(run.params, batches, number, key)
    return workdir.name, model_mean, np.asarray(terms.mean)[:, 0]


def main(argv: list[str]) -> None:
    """Draws one panel per run."""
    del argv

    def draw() -> None:
        prepare_process()
        panels = [posterior_means(Path(run)) for run in _RUNS.value]
        plots.posterior_mean_space(panels, Path(_OUTPUT.value))
        for name, model_mean, encoder_mean in panels:
            correlation = np.corrcoef(model_mean, encoder_mean)[0, 1]
            print(
                f"{name}: standard deviation of the model's means {model_mean.std():.3f}, of the "
                f"encoder's {encoder_mean.std():.3f}, correlation {correlation:.3f}"
            )

    guarded(draw)


if __name__ == "__main__":
    app.run(main)
