"""`jvae reconstruct RUN FILE`: each line decoded again."""

import argparse

from jvae.commands.arguments import (
    add_decoding,
    add_file,
    add_run,
    decoding,
    load,
    note_lost,
    print_all,
    sentences,
)
from jvae.commands.command import Command


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_run(parser)
    add_file(parser)
    add_decoding(parser, "greedy")


def act(arguments: argparse.Namespace) -> None:
    """Prints a sentence for each line."""
    run, how, lines = load(arguments), decoding(arguments), sentences(arguments.file)
    decoded = run.reconstruct(lines, seed=arguments.seed, **how._asdict())
    note_lost(run, lines)
    print_all(decoded)


COMMAND = Command("decode each sentence of a file again", add, act)
