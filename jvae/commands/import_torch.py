"""`jvae import-torch RUN MODEL.pt --train=FILE`: a PyTorch checkpoint as a run directory."""

import argparse
from pathlib import Path

from jvae.commands.command import Command


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("run", type=Path, help="run directory, to be made")
    parser.add_argument("checkpoint", type=Path, help="their .pt, a state_dict")
    parser.add_argument("--train", type=Path, required=True, help="the sentences it was trained on")
    parser.add_argument("--valid", type=Path, help="without: some of --train")
    parser.add_argument("--test", type=Path, help="without: some of --train")
    parser.add_argument("--label", action="store_true", help="lines are label<TAB>sentence")
    parser.add_argument("--vocabulary", type=Path, help="a word a line; without: made from --train")


def act(arguments: argparse.Namespace) -> None:
    """Writes the run directory."""
    from jvae.runs.process import prepare_process
    from jvae.tasks import get_task
    from jvae.tasks.text.import_torch import import_arrays, read_state_dict

    arrays = read_state_dict(arguments.checkpoint)
    prepare_process()
    sizes = import_arrays(
        get_task("text"),
        arrays,
        arguments.run,
        train=arguments.train,
        valid=arguments.valid,
        test=arguments.test,
        label=arguments.label,
        vocabulary=arguments.vocabulary,
    )
    print(f"{arguments.run}: " + ", ".join(f"{n} {s:,}" for n, s in sizes._asdict().items()))


COMMAND = Command(
    "a run directory from a PyTorch checkpoint of He et al.'s or Li et al.'s scripts",
    add,
    act,
    tasks=(),
)
