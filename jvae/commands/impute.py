"""`jvae impute RUN FILE`: blanks filled."""

import argparse

from jvae.commands.arguments import (
    add_file,
    add_run,
    key,
    load,
    positive,
    print_all,
    sentences,
)
from jvae.commands.command import Command


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_run(parser)
    add_file(parser)
    parser.add_argument(
        "-n", "--number", type=positive, default=1, help="fillings; 2 or more with their shares"
    )
    parser.add_argument("--draws", type=positive, default=8, help="z in each round")
    parser.add_argument("--beam-size", type=positive, default=5, help="fillings of each z")
    parser.add_argument("--rounds", type=positive, default=5, help="at most")
    parser.add_argument("--samples", type=positive, default=100, help="K that weigh a filling")


def act(arguments: argparse.Namespace) -> None:
    """Prints the filled sentences."""
    from jvae.tasks.text.downstream import filled_lines
    from jvae.tasks.text.impute import Search, impute

    run, lines = load(arguments), sentences(arguments.file)
    search = Search(arguments.draws, arguments.beam_size, arguments.rounds, arguments.samples)
    fillings = impute(run.trained, lines, search, key=key(arguments))
    print_all(filled_lines(fillings, arguments.number))


COMMAND = Command("fill the blanks (_) of each sentence of a file", add, act)
