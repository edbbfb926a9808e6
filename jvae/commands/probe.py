"""`jvae probe RUN FILE`: labels predicted from posterior means."""

import argparse
from pathlib import Path

from jvae.commands.arguments import (
    add_run,
    key,
    load,
    note_lost,
    print_all,
    rows,
    small_seed,
    whole,
)
from jvae.commands.command import Command


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_run(parser)
    parser.add_argument("file", type=Path, help="label<TAB>sentence lines; - for standard input")
    parser.add_argument("--test", type=Path, help="measured on this file, not by cross-validation")
    parser.add_argument("--folds", type=whole(2), default=5, help="of the cross-validation")


def act(arguments: argparse.Namespace) -> None:
    """Prints the probe's table."""
    from jvae.tasks.text.downstream import probe

    train = rows(arguments.file, True)
    test = rows(arguments.test, True) if arguments.test else None
    run, seed = load(arguments), small_seed(arguments)
    shown = probe(run.trained, train, test, arguments.folds, seed=seed, key=key(arguments))
    note_lost(run, [*train.sentences, *(test.sentences if test else [])])
    print_all(shown)


COMMAND = Command("logistic regression of labels on posterior means", add, act)
