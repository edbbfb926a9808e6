"""`jvae quality RUN`: samples and reconstructions measured as text."""

import argparse
from functools import partial

from jvae.commands.arguments import add_decoding, add_run, decoding, load, natural
from jvae.commands.command import Command


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_run(parser)
    parser.add_argument("-n", "--number", type=natural, default=0, help="0: as training text")
    parser.add_argument("--reconstruction", choices=("greedy", "beam"), default="greedy")
    parser.add_argument(
        "--pairs", type=natural, default=100, help="of sentences, to interpolate between"
    )
    parser.add_argument("--split", choices=("valid", "test"), default="test")
    add_decoding(parser, "sample", unk=True)


def act(arguments: argparse.Namespace) -> None:
    """Measures, prints and saves."""
    from rich.console import Console

    from jvae.runs.directory import save_results
    from jvae.tasks.text.quality import QUALITY, measure, print_table
    from jvae.tasks.text.run import of_split

    run = of_split(load(arguments).trained, arguments.split)
    how = decoding(arguments)
    data = run.task.load(run.config, resources=run.resources, folder=run.workdir)
    console = Console()
    results = measure(
        run,
        data,
        how,
        number=arguments.number,
        reconstruction=arguments.reconstruction,
        pairs=arguments.pairs,
        seed=arguments.seed,
        say=partial(console.print, highlight=False, markup=False, soft_wrap=True),
    )
    save_results(run.workdir, results, QUALITY)
    print_table(console, f"{data.name}, epoch {run.epoch}", results)


COMMAND = Command("measure samples and reconstructions as text", add, act)
