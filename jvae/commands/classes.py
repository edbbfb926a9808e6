"""`jvae classes RUN FILE`: the sentences of each class of a categorical latent."""

import argparse

from jvae.commands.arguments import (
    add_file,
    add_run,
    load,
    note_lost,
    positive,
    print_all,
    sentences,
)
from jvae.commands.command import Command
from jvae.errors import UserError


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_run(parser)
    add_file(parser)
    parser.add_argument("-n", "--number", type=positive, default=5, help="sentences of a class")


def act(arguments: argparse.Namespace) -> None:
    """Prints each class with its share of the sentences and those that are surest of it."""
    run, read = load(arguments), sentences(arguments.file)
    if run.config.model.posterior != "categorical":
        raise UserError(
            f"{run.workdir} has model.posterior = {run.config.model.posterior!r}: only a "
            "categorical latent has classes; for others: jvae cluster"
        )
    probabilities = run.encode(read)
    lines = []
    for number in (-probabilities.sum(axis=0)).argsort(kind="stable"):
        members = (probabilities.argmax(axis=1) == number).nonzero()[0]
        surest = members[(-probabilities[members, number]).argsort(kind="stable")]
        lines.append(f"class {number}, {len(members):,} sentences")
        distinct = dict.fromkeys(read[row] for row in surest)
        lines += [f"  {sentence}" for sentence in list(distinct)[: arguments.number]]
    note_lost(run, read)
    print_all(lines)


COMMAND = Command("the sentences of each class of a categorical latent", add, act)
