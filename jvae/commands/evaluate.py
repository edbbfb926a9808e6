"""`jvae evaluate RUN`: numbers, examples and pictures of a split."""

import argparse
from typing import Any

from jvae.commands.arguments import add_run, natural, not_negative, positive
from jvae.commands.command import Command


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_run(parser, own_seed=True)
    parser.add_argument("--split", choices=("train", "valid", "test"), default="test")
    parser.add_argument("--iw-samples", type=positive, help="K of IW-NLL")
    parser.add_argument(
        "--iw-tolerance",
        type=not_negative,
        help="nats: fewer samples once the rest would change IW-NLL by less; 0 for all",
    )
    parser.add_argument(
        "--iw-examples",
        "--iw-sentences",
        dest="iw_examples",
        type=natural,
        help="the first so many; 0 for all",
    )


def act(arguments: argparse.Namespace) -> None:
    """Evaluates the run again."""
    from rich.console import Console

    from jvae.runs.directory import load_run, task_name
    from jvae.runs.process import prepare_process
    from jvae.runs.run import evaluate_directory
    from jvae.tasks import get_task

    prepare_process()
    trained = load_run(arguments.run, get_task(task_name(arguments.run)))
    given: dict[str, Any] = {
        f"evaluation.{name}": getattr(arguments, name)
        for name in ("iw_samples", "iw_tolerance", "iw_examples")
        if getattr(arguments, name) is not None
    }
    evaluate_directory(
        trained, Console(), split=arguments.split, seed=arguments.seed, overrides=given
    )


COMMAND = Command(
    "print numbers and examples, draw pictures; replaces the run's results.json (of another "
    "split: results-SPLIT.json)",
    add,
    act,
    tasks=None,
)
