"""`jvae neighbours RUN FILE SENTENCE ..`: the nearest sentences of a file."""

import argparse

from jvae.commands.arguments import (
    add_file,
    add_run,
    key,
    load,
    note_lost,
    positive,
    print_all,
    sentences,
)
from jvae.commands.command import Command


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_run(parser)
    add_file(parser)
    parser.add_argument("queries", nargs="+", metavar="sentence")
    parser.add_argument("-n", "--number", type=positive, default=5, help="for each sentence")
    parser.add_argument("--metric", choices=("euclidean", "cosine"), default="euclidean")


def act(arguments: argparse.Namespace) -> None:
    """Prints the neighbours of each sentence."""
    from jvae.tasks.text.downstream import neighbours

    run, lines = load(arguments), sentences(arguments.file)
    queries, number, metric = arguments.queries, arguments.number, arguments.metric
    shown = neighbours(run.trained, lines, queries, number, metric, key=key(arguments))
    note_lost(run, [*queries, *lines])
    print_all(shown)


COMMAND = Command("the sentences of a file nearest to your own", add, act)
