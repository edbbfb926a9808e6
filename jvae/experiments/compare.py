"""Which remedy helps on my corpus? Several methods, one corpus, one evaluation, one report.

    python -m jvae.experiments.compare --methods=vae,anneal,cyclical,aggressive --seeds=0,1
    jvae compare --train=my.txt --methods=vae,aggressive

Each method and seed is a run of its own below the run directory, which the same command resumes
or, once it is finished, reads; methods with the same pretraining share it. A language model (the
same decoder without a latent) and an autoencoder of each decoder are trained too: the likelihood to
beat, and the reconstruction to approach. The default is the quick chitchat recipe;
`--config.training.max_batches=0 --config.data.max_length=0` for the whole corpus. Own sentences
have up to 50 tokens and 10,000 words. Of a base (`--config=FILE`) data, sizes and training budget
are taken, and none of its remedies; a field given beside it (`--config.model.word_dropout=0.3`) is
every method's that does not set it itself.
"""

import json
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags
from rich.console import Console

from jvae.data import Corpus, Tokenizer
from jvae.errors import UserError
from jvae.experiments import chitchat, text
from jvae.experiments.command import main as command_line
from jvae.experiments.methods import FLOOR, METHODS, choose, configure, method, replaced

DEFAULT = ["vae", "anneal", "cyclical", "aggressive"]


def get_config() -> ConfigDict:
    """The quick chitchat recipe, of which each method changes its own fields."""
    return chitchat.get_config()


def compare(
    base: ConfigDict,
    methods: list[str],
    seeds: list[int],
    workdir: Path,
    console: Console,
    given: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Trains and evaluates every method with every seed, and writes the report.

    Args:
      base: data, sizes and training budget of all.
      methods: of `METHODS`, or several of them joined by "+".
      seeds: one run of each method for each.
      workdir: of all runs.
      console: where it shows.
      given: fields whose value in the base is every method's that does not set them itself.

    Returns:
      One dictionary a run: "method", "seed", "folder", and "results" and "history" or "error".

    Raises:
      UserError: a method is unknown, the base configuration or the data is at fault.
      jvae.training.loop.Interrupted: on a signal, after a checkpoint; the same call goes on.
    """
    from jvae.experiments import compare_report
    from jvae.experiments.checks import check
    from jvae.experiments.setup import make_workdir

    refuse_processes(base)
    names, text_of = choose(methods), shared_text(configure(base, FLOOR, 0, given))
    for seed in seeds:  # what a method cannot do is said before hours of training
        for name in names:
            try:
                check(configure(base, name, seed, given))
            except UserError as error:
                raise UserError(f"method {name}: {error}") from None
    make_workdir(workdir)
    left_out = ", ".join(replaced(base, given))
    if left_out:
        start = "left out of the base, as every method starts from a plain VAE:"
        console.print(f"{start} {left_out}", highlight=False, soft_wrap=True)
    outcomes = []
    for seed in seeds:
        for name in names:
            about = method(name).about
            config = configure(base, name, seed, given)
            outcomes.append(train_or_read(config, name, about, workdir, console, text_of))
            console.print(compare_report.line(outcomes[-1]), highlight=False, soft_wrap=True)
    if all("error" in outcome for outcome in outcomes):
        raise UserError(f"every method failed; the first: {outcomes[0]['error']}")
    compare_report.write(outcomes, workdir, console)
    return outcomes


class Text(NamedTuple):
    """What all runs of a comparison read."""

    corpus: Corpus
    tokenizer: Tokenizer


def shared_text(base: ConfigDict) -> Callable[[], Text]:
    """What loads the base's text when it is first asked for: finished runs need none."""

    @cache
    def load() -> Text:
        from jvae.experiments.setup import load_data_corpus, make_tokenizer

        corpus = load_data_corpus(base)
        return Text(corpus, make_tokenizer(base, corpus))

    return load


def train_or_read(
    config: ConfigDict,
    name: str,
    about: str,
    workdir: Path,
    console: Console,
    text_of: Callable[[], Text],
) -> dict[str, Any]:
    """The run of a method in `workdir/NAME/seed-N`; one that fails does not end the others."""
    from jvae.experiments.pretraining import FOLDER, pretraining_key
    from jvae.experiments.runner import run
    from jvae.experiments.setup import RESULTS, is_finished
    from jvae.training.logs import read_metrics

    seed = config.training.seed
    folder = workdir / name / f"seed-{seed}"
    # Methods with the same first phase share it.
    pretraining = workdir / FOLDER / f"seed-{seed}-{pretraining_key(config)}"
    outcome: dict[str, Any] = {"method": name, "seed": seed, "folder": str(folder)}

    def found() -> dict[str, Any]:
        if not is_finished(folder, config):
            folder.mkdir(parents=True, exist_ok=True)
            console.print(f"{name}, seed {seed}: {about}", highlight=False, soft_wrap=True)
            with open(folder / "output.txt", "a", encoding="utf-8") as shown:
                own = Console(file=shown, width=120)
                run(config, folder, own, pretraining=pretraining, **text_of()._asdict())
        results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        return {"results": results, "history": read_metrics(folder)}

    return outcome | attempt(found)


def attempt(action: Callable[[], dict[str, Any]], doing: str = "") -> dict[str, Any]:
    """What `action` returns, or the "error" of a method that fails: it does not end the others.

    Args:
      action: training or measuring; it may run out of memory.
      doing: how the error begins.
    """
    import jax

    try:
        return action()
    except (UserError, MemoryError, jax.errors.JaxRuntimeError) as error:
        return {"error": doing + (" ".join(str(error).split())[:300] or type(error).__name__)}


def refuse_processes(base: ConfigDict) -> None:
    """One process reads what it has written itself; another would not find it yet.

    Raises:
      UserError: the configuration asks for several.
    """
    if base.training.coordinator:
        raise UserError(
            f"training.coordinator = {base.training.coordinator!r}: a comparison is made by one "
            "process; leave it out, or train each method as a run of its own"
        )


def whole_numbers(seeds: list[str]) -> list[int]:
    """What `--seeds` lists.

    Raises:
      UserError: it is something else.
    """
    try:
        return [int(seed) for seed in seeds]
    except ValueError:
        raise UserError(f"--seeds={','.join(seeds)}: these are not whole numbers") from None


def main() -> None:
    """From the command line."""
    # Not on import: this file is loaded once more, as the default of --config.
    flags.DEFINE_list("methods", DEFAULT, f"of {', '.join(METHODS)}; A+B: both in one")
    flags.DEFINE_list("seeds", ["0"], "one run of each method for each seed")

    def act(config: ConfigDict, workdir: Path, console: Console) -> None:
        seeds = whole_numbers(flags.FLAGS.seeds)
        given = config_flags.get_override_values(flags.FLAGS["config"])
        compare(config, flags.FLAGS.methods, seeds, workdir, console, given)

    command_line(__file__, text_files=True, text_limits=text.LIMITS, act=act, prefix="compare-")


if __name__ == "__main__":
    main()
