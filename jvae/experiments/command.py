"""The command line of every experiment: absl flags over an ml_collections configuration."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags
from rich.console import Console

from jvae.errors import UserError

SPLITS = ("train", "valid", "test")


def main(experiment_file: str, *, text_files: bool = False) -> None:
    """Runs an experiment from `sys.argv`.

    Args:
      experiment_file: a module with `get_config()`, the default of `--config`.
      text_files: whether `--train`, `--valid` and `--test` name files of sentences.
    """
    app.run(lambda argv: _run(argv, text_files), flags_parser=_parser(experiment_file, text_files))


def _parser(experiment_file: str, text_files: bool) -> Callable[[list[str]], list[str]]:
    def parse(argv: list[str]) -> list[str]:
        try:
            # Overrides of fields are themselves flags, read off the command line here.
            config_flags.DEFINE_config_file(
                "config",
                experiment_file,
                "configuration; --config.GROUP.FIELD=VALUE overrides",
            )
            flags.DEFINE_string(
                "workdir", "", "run directory; the same one again continues the run"
            )
            if text_files:
                for split in SPLITS:
                    flags.DEFINE_string(split, "", f"file of {split} sentences, one per line")
            remaining = flags.FLAGS(argv)
            config = flags.FLAGS.config
            getattr(config, "data")  # noqa: B009  a file that failed to load says so on first use
        except (UserError, flags.Error, AttributeError, KeyError, TypeError, OSError) as error:
            fail(_flag_error(error))
        if len(remaining) > 1:
            fail(f"unexpected argument {remaining[1]!r}: options start with --")
        return remaining

    return parse


def _flag_error(error: Exception) -> str:
    text = " ".join(str(error).replace("\\'", "'").split())
    wrong = re.search(r"Did you mean \"(\w+)\" instead of \"(\w+)\"", text)
    if wrong:
        return f"the configuration has no field {wrong[2]!r}: did you mean {wrong[1]!r}?"
    return text.strip("\"'")


def _run(argv: list[str], text_files: bool) -> None:
    from jvae.experiments.runner import run  # after the flags: a misspelt one answers at once

    config: ConfigDict = flags.FLAGS.config
    if text_files:
        for split in SPLITS:
            if flags.FLAGS[split].value:
                config.data[split] = flags.FLAGS[split].value
    workdir = flags.FLAGS.workdir or f"runs/{config.data.name}"
    guarded(lambda: run(config, Path(workdir), Console()))


def guarded(action: Callable[[], object]) -> None:
    """Runs `action`; the user's mistakes end in one line and exit code 2, signals in theirs."""
    from jvae.training.loop import Interrupted

    logging.set_verbosity(logging.ERROR)  # libraries narrate below

    try:
        action()
    except UserError as error:
        fail(str(error))
    except Interrupted as stop:
        print(f"stopped by {stop}: saved; the same command continues", file=sys.stderr)
        sys.exit(128 + stop.signum)


def fail(message: str) -> None:
    """One line to standard error, exit code 2."""
    print(f"jvae: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
