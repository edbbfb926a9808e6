"""`jvae cluster RUN FILE`: kinds of sentences."""

import argparse

from jvae.commands.arguments import (
    add_file,
    add_run,
    key,
    load,
    note_lost,
    positive,
    print_all,
    rows,
    small_seed,
)
from jvae.commands.command import Command


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_run(parser)
    add_file(parser)
    parser.add_argument("-k", "--clusters", type=positive, default=10)
    parser.add_argument("-n", "--number", type=positive, default=3, help="typical sentences")
    parser.add_argument(
        "--label", action="store_true", help="lines are label<TAB>sentence: agreement with labels"
    )


def act(arguments: argparse.Namespace) -> None:
    """Prints the clusters."""
    from jvae.tasks.text.downstream import cluster

    read = rows(arguments.file, arguments.label)
    run, seed = load(arguments), small_seed(arguments)
    shown = cluster(
        run.trained, read, arguments.clusters, arguments.number, seed=seed, key=key(arguments)
    )
    note_lost(run, read.sentences)
    print_all(shown)


COMMAND = Command("k-means of posterior means, with typical sentences", add, act)
