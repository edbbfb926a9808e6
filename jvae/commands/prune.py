"""`jvae prune RUN ALPHA ..`: vectors kept and reconstruction of an NVIB run, by threshold."""

import argparse

from jvae.commands.arguments import add_run, key, load, not_negative, print_all
from jvae.commands.command import Command


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_run(parser)
    parser.add_argument(
        "thresholds",
        nargs="+",
        type=not_negative,
        metavar="ALPHA",
        help="up to it there is no vector; 0: only where alpha is 0",
    )
    parser.add_argument("--split", choices=("valid", "test"), default="test")


def act(arguments: argparse.Namespace) -> None:
    """Prints and saves the curve."""
    from jvae.runs.directory import save_results
    from jvae.tasks.text.pruning import PRUNING, curve, lines
    from jvae.tasks.text.run import of_split
    from jvae.tasks.text.use import Decoding

    run = of_split(load(arguments).trained, arguments.split)
    data = run.task.load(run.config, resources=run.resources, folder=run.workdir)
    points = curve(run, data, arguments.thresholds, Decoding(), key=key(arguments))
    save_results(run.workdir, {"split": arguments.split, "points": points}, PRUNING)
    print_all(lines(points))


COMMAND = Command("an NVIB run's vectors kept and reconstruction, by threshold", add, act)
