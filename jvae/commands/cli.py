"""The console script `jvae`: uses of a finished run directory."""

import argparse
import sys
from importlib import metadata
from typing import NoReturn

from jvae.commands import (
    arithmetic,
    classes,
    cluster,
    encode,
    evaluate,
    import_torch,
    impute,
    interpolate,
    neighbours,
    probe,
    prune,
    quality,
    reconstruct,
    sample,
)
from jvae.commands.command import Command
from jvae.errors import UserError
from jvae.terminal import terminal

COMMANDS: dict[str, Command] = {
    "evaluate": evaluate.COMMAND,
    "quality": quality.COMMAND,
    "prune": prune.COMMAND,
    "sample": sample.COMMAND,
    "reconstruct": reconstruct.COMMAND,
    "interpolate": interpolate.COMMAND,
    "encode": encode.COMMAND,
    "import-torch": import_torch.COMMAND,
    "arithmetic": arithmetic.COMMAND,
    "neighbours": neighbours.COMMAND,
    "classes": classes.COMMAND,
    "cluster": cluster.COMMAND,
    "probe": probe.COMMAND,
    "impute": impute.COMMAND,
}


class _Parser(argparse.ArgumentParser):
    """Answers a wrong command line in one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        from jvae.runs.flags import fail

        fail(f"{message}; see {self.prog} --help")
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    more = "jvae compare --help: several training methods on one corpus"
    parser = _Parser(prog="jvae", description=__doc__, epilog=more)
    version = f"%(prog)s {metadata.version('jvae')}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    for name, command in COMMANDS.items():
        command.add(commands.add_parser(name, help=command.about, description=command.about))
    return parser


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and runs one command."""
    with terminal():
        _main(sys.argv[1:] if argv is None else argv)


def _main(words: list[str]) -> None:
    """Runs the command that the words of a command line name."""
    if words[:1] == ["compare"]:  # it trains: its flags are those of an experiment
        from jvae.compare.__main__ import main as compare

        sys.argv = ["jvae compare", *words[1:]]
        compare()
        return
    arguments = _parser().parse_args(words)
    from jvae.runs.flags import guarded

    guarded(lambda: _act(COMMANDS[arguments.command], arguments))


def _act(command: Command, arguments: argparse.Namespace) -> None:
    """Runs a command on a run of a task that has it.

    Raises:
      UserError: the run is of another task.
    """
    if command.tasks:
        from jvae.runs.directory import task_name

        name = task_name(arguments.run)
        if name not in command.tasks:
            raise UserError(
                f"jvae {arguments.command} is for runs of the task {' or '.join(command.tasks)}: "
                f"{arguments.run} is one of {name}"
            )
    command.act(arguments)


if __name__ == "__main__":
    main()
