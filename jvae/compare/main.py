"""The command line of a comparison: the flags of an experiment, and the methods and seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import ConfigDict, config_flags
from rich.console import Console

from jvae.errors import UserError
from jvae.runs import flags as command_line

if TYPE_CHECKING:
    from jvae.runs.task import Methods, Task


def main(
    experiment_file: str,
    task: "Task",
    *,
    files: bool = False,
    limits: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Compares the methods of a task as `sys.argv` says.

    Args:
      experiment_file: see `jvae.runs.flags.main`.
      task: with methods.
      files: see `jvae.runs.flags.main`.
      limits: see `jvae.runs.flags.main`.
    """
    assert task.methods is not None, task.name
    define_flags(task.methods)

    def act(config: ConfigDict, workdir: Path, console: Console) -> None:
        names, seeds = chosen()
        from jvae.compare.run import compare  # after the flags: a misspelt one answers at once

        given = config_flags.get_override_values(flags.FLAGS["config"])
        compare(task, config, names, seeds, workdir, console, given)

    command_line.main(experiment_file, task, files=files, limits=limits, act=act, prefix="compare-")


def define_flags(methods: "Methods") -> None:
    """Defines `--methods` and `--seeds`.

    An entry point calls it in its `main`, not on import: absl loads its file once more, as the
    default of `--config`.
    """
    known = ", ".join(methods.methods)
    flags.DEFINE_list("methods", list(methods.default), f"of {known}; A+B: both in one")
    flags.DEFINE_list("seeds", ["0"], "one run of each method for each seed")


def chosen() -> tuple[list[str], list[int]]:
    """Returns the methods and seeds that the flags list.

    Raises:
      UserError: a seed is not a whole number.
    """
    return flags.FLAGS.methods, whole_numbers(flags.FLAGS.seeds)


def whole_numbers(seeds: Sequence[str]) -> list[int]:
    """Reads the seeds.

    Raises:
      UserError: one is not a whole number.
    """
    try:
        return [int(seed) for seed in seeds]
    except ValueError:
        raise UserError(f"--seeds={','.join(seeds)}: these are not whole numbers") from None
