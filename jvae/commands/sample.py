"""`jvae sample RUN`: sentences from the prior."""

import argparse

from jvae.commands.arguments import add_decoding, add_run, decoding, load, positive, print_all
from jvae.commands.command import Command


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_run(parser)
    parser.add_argument("-n", "--number", type=positive, default=10)
    add_decoding(parser, "sample")


def act(arguments: argparse.Namespace) -> None:
    """Prints the sentences."""
    run, how = load(arguments), decoding(arguments)
    print_all(run.sample(arguments.number, seed=arguments.seed, **how._asdict()))


COMMAND = Command("sentences from the prior", add, act)
