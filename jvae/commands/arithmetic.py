"""`jvae arithmetic RUN A B C`: A - B + C of posterior means, decoded."""

import argparse

from jvae.commands.arguments import add_decoding, add_run, decoding, load, note_lost
from jvae.commands.command import Command


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_run(parser)
    for name in "abc":
        parser.add_argument(name, metavar=name.upper(), help="a sentence")
    add_decoding(parser, "greedy")


def act(arguments: argparse.Namespace) -> None:
    """Prints the sentence."""
    run, how = load(arguments), decoding(arguments)
    three = (arguments.a, arguments.b, arguments.c)
    decoded = run.arithmetic(*three, seed=arguments.seed, **how._asdict())
    note_lost(run, three)
    print(decoded)


COMMAND = Command("A - B + C of posterior means, decoded", add, act)
