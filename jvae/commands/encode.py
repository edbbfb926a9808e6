"""`jvae encode RUN FILE -o z.npz`: posterior means and log variances."""

import argparse
from pathlib import Path

from jvae.commands.arguments import add_file, add_run, load, note_lost, sentences
from jvae.commands.command import Command
from jvae.files import replacing


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_run(parser)
    add_file(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, help="FILE.npz")


def act(arguments: argparse.Namespace) -> None:
    """Writes means and log variances; of sets one mean each."""
    import numpy as np

    run, lines = load(arguments), sentences(arguments.file)
    # An array of strings would give each of them the room of the longest.
    text = np.frombuffer("\n".join(lines).encode(), np.uint8)
    with replacing(arguments.output) as file:  # a folder that cannot be written answers at once
        posterior = run.posterior(lines, seed=arguments.seed)
        arrays, about = posterior._asdict(), "mean and log_var {}"
        if run.encodes_sets:
            arrays, about = {"mean": posterior.mean}, "mean {} pooled over each sentence's vectors"
        np.savez(file, sentences=text, **arrays)
    note_lost(run, lines)
    print(f"{arguments.output}: {about.format(list(posterior.mean.shape))}, sentences")


COMMAND = Command(
    "posterior means and log variances of a file, as .npz; of sets pooled means", add, act
)
