"""The declaration of a command."""

import argparse
from collections.abc import Callable
from typing import NamedTuple


class Command(NamedTuple):
    """A command of the console script.

    Attributes:
      about: one line, for the help.
      add: adds its arguments to a parser.
      act: `(arguments)`, does it.
      tasks: names of the tasks whose runs it takes, None for all; `()` where it takes no run.
    """

    about: str
    add: Callable[[argparse.ArgumentParser], None]
    act: Callable[[argparse.Namespace], None]
    tasks: tuple[str, ...] | None = ("text",)
