"""Does a set of as many vectors as needed pay? NVIB beside the baselines of its paper, one report.

    python -m jvae.experiments.nvib_comparison --workdir=runs/nvib-comparison --seeds=0

Each method and seed is a run of its own below the run directory. The same command resumes it or,
once it is finished, reads it; then `jvae quality` measures it. One language model of the training
text reads the samples of all of them. The base is `jvae.experiments.nvib`; its weights are
everybody's, though not of the same: a nat of VT's vector i weighs 2e-3, of NVIB's `2e-3 n w_i`, w_i
its share of all alphas, of which the prior's row, whose KL is 0, takes its own. The default trains
eleven methods, each for some minutes on two cores, much of them compilation; `nvib_prune` for 20
epochs, whatever the others have.

Henderson and Fehr (2023), A VAE for Transformers with Nonparametric Variational Information
Bottleneck: the report says of three of its claims whether they hold on this corpus.
"""

from functools import partial
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict
from rich.console import Console

from jvae.compare.main import chosen, define_flags
from jvae.experiments import nvib, text
from jvae.runs.flags import main as command_line
from jvae.tasks import get_task
from jvae.tasks.text.nvib_methods import NVIB

LANGUAGE_MODEL = "language-model"  # of the training text, shared by all


def get_config() -> ConfigDict:
    """Returns NVIB's configuration, of which each method changes its fields."""
    return nvib.get_config()


def main() -> None:
    """Compares as `sys.argv` says."""
    task = get_task("text")
    define_flags(NVIB)
    flags.DEFINE_integer("number", 2000, "samples of each run; 0 for as many as training text")
    flags.DEFINE_integer("pairs", 100, "of sentences, to interpolate between", lower_bound=0)

    def act(config: ConfigDict, workdir: Path, console: Console) -> None:
        names, seeds = chosen()
        from jvae.compare.nvib import measure, nvib_form
        from jvae.compare.run import compare

        measured = partial(
            measure,
            task=task,
            base=config,
            language_model=workdir / LANGUAGE_MODEL,
            number=flags.FLAGS.number,
            pairs=flags.FLAGS.pairs,
        )
        form = nvib_form(task)
        compare(task, config, names, seeds, workdir, console, form=form, measure=measured)

    command_line(__file__, task, files=True, limits=text.LIMITS, act=act, prefix="nvib-comparison-")


if __name__ == "__main__":
    main()
