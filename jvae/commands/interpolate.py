"""`jvae interpolate RUN FIRST SECOND`: sentences between two."""

import argparse

from jvae.commands.arguments import add_decoding, add_run, decoding, load, note_lost, print_all
from jvae.commands.command import Command


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_run(parser)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--steps", type=int, default=7, help="sentences in all")
    parser.add_argument(
        "--path",
        choices=("linear", "spherical"),
        default="linear",
        help="of one vector; sets of vectors have one path of their own: leave it out",
    )
    add_decoding(parser, "greedy")


def act(arguments: argparse.Namespace) -> None:
    """Prints the sentences on the path."""
    run, how = load(arguments), decoding(arguments)
    ends = (arguments.first, arguments.second)
    decoded = run.interpolate(
        *ends, arguments.steps, path=arguments.path, seed=arguments.seed, **how._asdict()
    )
    note_lost(run, ends)
    print_all(decoded)


COMMAND = Command("sentences between two of your own", add, act)
