"""Does a set of as many vectors as needed pay? NVIB beside the baselines of its paper, one report.

    python -m jvae.experiments.nvib_comparison --workdir=runs/nvib-comparison --seeds=0

Each method and seed is a run of its own below the run directory, which the same command resumes
or, once it is finished, reads; then `jvae quality` measures it. One language model of the training
text judges all of them. The base is `jvae.experiments.nvib`; its weights are everybody's,
though not of the same: a nat of VT's vector i weighs 2e-3, of NVIB's `2e-3 n w_i`, w_i its share of
all alphas, of which the prior's row, whose KL is 0, takes its own. The default trains eleven
methods, each for some minutes on two cores, much of them compilation; `nvib_prune` for 20 epochs,
whatever the others have.

Henderson and Fehr (2023), A VAE for Transformers with Nonparametric Variational Information
Bottleneck: the report says of three of its claims whether they hold on this corpus.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict
from rich.console import Console

from jvae.errors import UserError
from jvae.experiments import nvib, text
from jvae.experiments.command import main as command_line
from jvae.experiments.compare import (
    Text,
    attempt,
    refuse_processes,
    shared_text,
    train_or_read,
    whole_numbers,
)
from jvae.experiments.methods import Method, known

# What the methods without weights and variances in their sets take in NVIB's place.
_SET = {"model.prior": "normal_set", "model.attention": "dot_product"}
_VECTOR = {
    "model.posterior": "diagonal",
    "model.prior": "standard_normal",
    "model.attention": "dot_product",
}
METHODS: dict[str, Method] = {
    "t": Method(
        "an autoencoder with a vector for each token, without noise; its samples mean nothing",
        _SET | {"model.mode": "ae", "model.posterior": "vt", "objective.loss": "elbo"},
    ),
    "vt": Method("a Gaussian vector for each token", _SET | {"model.posterior": "vt"}),
    "vtp_mean": Method(
        "one Gaussian vector, of the mean state", _VECTOR | {"model.pooling": "mean"}
    ),
    "vtp_max": Method(
        "one Gaussian vector, of the largest states", _VECTOR | {"model.pooling": "max"}
    ),
    **{
        f"vts_{stride}": Method(
            f"vt without a fixed share of {stride} of its vectors",
            _SET | {"model.posterior": "vts", "model.vts_stride": stride},
        )
        for stride in (0.25, 0.5, 0.75)
    },
    **{
        f"nvib_{delta}": Method(
            f"as many Gaussian vectors as needed, {delta} pseudo-counts expected of each token",
            {"model.nvib_delta": delta},
        )
        for delta in (0.1, 0.25, 1.0)
    },
    # Of NVIB's trials the one that dropped vectors: experiments/results/nvib.md, second table.
    "nvib_prune": Method(
        "nvib_0.1 from alphas of 1, its KL from epoch 4 on, the weights' ten times, 20 epochs",
        {
            "model.nvib_delta": 0.1,
            "model.nvib_start": 1.0,
            "objective.dirichlet_weight": 10.0,
            "objective.kl_delay": 4.0,
            "objective.kl_epochs": 6.0,
            "training.epochs": 20,
        },
    ),
}
LANGUAGE_MODEL = "language-model"  # of the training text, shared by all


def get_config() -> ConfigDict:
    """NVIB's, of which each method changes its own fields."""
    return nvib.get_config()


def configure(base: ConfigDict, name: str, seed: int) -> ConfigDict:
    """The base's configuration with a method's differences."""
    config = base.copy_and_resolve_references()
    config.update_from_flattened_dict(METHODS[name].fields | {"training.seed": seed})
    return config


def compare(
    base: ConfigDict,
    methods: list[str],
    seeds: list[int],
    workdir: Path,
    console: Console,
    *,
    number: int,
    pairs: int,
) -> list[dict[str, Any]]:
    """Trains, evaluates and measures every method with every seed, and writes the report.

    Args:
      base: of NVIB.
      methods: of `METHODS`.
      seeds: one run of each method for each.
      workdir: of all runs.
      console: where it shows.
      number: of samples that `jvae.experiments.quality.measure` takes.
      pairs: of sentences, between which it interpolates.

    Returns:
      One dictionary a run: "method", "seed", "folder", and "results", with "quality" among them,
      and "history", or "error".

    Raises:
      UserError: a method is unknown, the base configuration or the data is at fault.
      jvae.training.loop.Interrupted: on a signal, after a checkpoint; the same call goes on.
    """
    from jvae.experiments import nvib_report
    from jvae.experiments.checks import check
    from jvae.experiments.setup import make_workdir

    names = known(methods, METHODS)
    refuse_processes(base)
    for seed in seeds:  # what a method cannot do is said before hours of training
        for name in names:
            check(configure(base, name, seed))
    make_workdir(workdir)
    text_of = shared_text(base)
    outcomes = []
    for seed in seeds:
        for name in names:
            config = configure(base, name, seed)
            outcome = train_or_read(config, name, METHODS[name].about, workdir, console, text_of)
            if "error" not in outcome:
                judge = workdir / LANGUAGE_MODEL
                measure = partial(_measured, outcome, judge, base, number, pairs, text_of)
                outcome |= attempt(measure, "measuring its sentences: ")
            outcomes.append(outcome)
            console.print(nvib_report.line(outcome), highlight=False, soft_wrap=True)
    if all("error" in outcome for outcome in outcomes):
        raise UserError(f"every method failed; the first: {outcomes[0]['error']}")
    nvib_report.write(outcomes, workdir, console)
    return outcomes


def _measured(
    outcome: dict[str, Any],
    language_model: Path,
    base: ConfigDict,
    number: int,
    pairs: int,
    text_of: Callable[[], Text],
) -> dict[str, Any]:
    """The outcome's results with "quality" among them, measured or read."""
    from jvae.experiments import quality
    from jvae.experiments.report import save_results
    from jvae.experiments.setup import encode_corpus, load_run, read_json
    from jvae.experiments.use import Decoding

    folder = Path(outcome["folder"])
    # A run that went on has other sentences, and so has another split.
    of = {name: outcome["results"][name] for name in ("best_epoch", "split")}
    asked = {"number": number, "pairs": pairs, **of}
    path = folder / quality.QUALITY
    if not path.exists() or read_json(path).get("asked") != asked:
        run = load_run(folder)
        data = encode_corpus(run.config, text_of().corpus, run.tokenizer, folder)
        with open(folder / "output.txt", "a", encoding="utf-8") as shown:
            found = quality.measure(
                run,
                data,
                Decoding(strategy="sample", max_length=0),
                number=number,
                reconstruction="greedy",
                pairs=pairs,
                seed=run.config.training.seed,
                say=partial(print, file=shown, flush=True),
                real=language_model,
                judges=base,  # one for all, however long a method trains
            )
        save_results(folder, found | {"asked": asked}, quality.QUALITY)
    # As it is read the next time, where a figure that is not finite is none.
    return {"results": outcome["results"] | {"quality": read_json(path)}}


def main() -> None:
    """From the command line."""
    # Not on import: this file is loaded once more, as the default of --config.
    flags.DEFINE_list("methods", list(METHODS), f"of {', '.join(METHODS)}")
    flags.DEFINE_list("seeds", ["0"], "one run of each method for each seed")
    flags.DEFINE_integer("number", 2000, "samples of each run; 0 for as many as training text")
    flags.DEFINE_integer("pairs", 100, "of sentences, to interpolate between", lower_bound=0)

    def act(config: ConfigDict, workdir: Path, console: Console) -> None:
        given = flags.FLAGS
        seeds = whole_numbers(given.seeds)
        number, pairs = given.number, given.pairs
        compare(config, given.methods, seeds, workdir, console, number=number, pairs=pairs)

    command_line(
        __file__,
        text_files=True,
        text_limits=text.LIMITS,
        act=act,
        prefix="nvib-comparison-",
    )


if __name__ == "__main__":
    main()
