"""The command line of every experiment: absl flags over an ml_collections configuration."""

import errno
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags
from rich.console import Console

from jvae.components import default_config
from jvae.configs import flat
from jvae.errors import UserError
from jvae.terminal import discard_output, terminal

if TYPE_CHECKING:
    from jvae.runs.task import Task

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
SAVED = Path(__file__).with_name("saved_config.py")  # reads a run's config.json
SPLITS = ("train", "valid", "test")
FILES = "text"  # `config.data.name` of the user's files

Act = Callable[[ConfigDict, Path, Console], object]


def main(
    experiment_file: str,
    task: "Task",
    *,
    files: bool = False,
    limits: Mapping[str, Any] = MappingProxyType({}),
    act: Act | None = None,
    prefix: str = "",
) -> None:
    """Runs an experiment from `sys.argv`.

    Args:
      experiment_file: a module with `get_config()`, the default of `--config`.
      task: what kind of work it is.
      files: whether `--train`, `--valid` and `--test` name files of the user's data.
      limits: fields of `config.data` that `--train` changes, unless they or another `--config` are
        given.
      act: (configuration, run directory, console) -> None; by default it trains and evaluates.
      prefix: of the default run directory's name.
    """
    with terminal():
        app.run(
            lambda argv: _run(task, files, limits, act, prefix),
            flags_parser=_parser(experiment_file, task, files),
        )


def _parser(experiment_file: str, task: "Task", files: bool) -> Callable[[list[str]], list[str]]:
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
            if files:
                for split in SPLITS:
                    flags.DEFINE_string(
                        split,
                        "",
                        f"file of {split} data; - for standard input",
                    )
            for path in _config_files(argv):
                _check_config_file(path, task)
            remaining = flags.FLAGS(_loadable(argv, task))
            getattr(flags.FLAGS.config, "data")  # noqa: B009  a failure to load shows on first use
        except (UserError, flags.Error, AttributeError, KeyError, TypeError, OSError) as error:
            fail(flag_error(error))
        if len(remaining) > 1:
            fail(f"unexpected argument {remaining[1]!r}: options start with --")
        return remaining

    return parse


def _config_files(argv: list[str]) -> list[str]:
    """Finds the files that `--config=FILE` or `--config FILE` name."""
    found = [word.split("=", 1)[1] for word in argv if re.match(r"--?config=", word)]
    pairs = zip(argv, argv[1:], strict=False)
    return found + [path for word, path in pairs if re.fullmatch(r"--?config", word)]


def _loadable(argv: list[str], task: "Task") -> list[str]:
    """Makes a run's `config.json` an argument of the module that reads it."""
    found = list(argv)
    for place, word in enumerate(argv):
        option = re.match(r"--?config=", word)
        if word.endswith(".json") and (option or re.fullmatch(r"--?config", argv[place - 1])):
            start = option.end() if option else 0
            found[place] = f"{word[:start]}{SAVED}:{task.name}:{word[start:]}"
    return found


def _check_config_file(path: str, task: "Task") -> None:
    """Loads a configuration file to see what is wrong with it: absl would show a traceback.

    Raises:
      UserError: names the file, and the line if there is one.
    """
    if path.endswith(".json"):
        from jvae.runs.directory import read_config

        read_config(Path(path), task)
        return
    path, _, argument = path.partition(":")  # as in ml_collections: FILE:ARGUMENT
    try:
        get_config = runpy.run_path(path).get("get_config")
        config = get_config(*[argument] if argument else []) if get_config else None
    except SyntaxError as error:
        raise UserError(f"{error.filename}, line {error.lineno}: {error.msg}") from None
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
        if not lines:
            reason = getattr(error, "strerror", None) or flag_error(error)
            raise UserError(f"cannot load the configuration {path}: {reason}") from None
        raise UserError(f"{path}, line {lines[-1]}: {flag_error(error)}") from None
    if not isinstance(config, ConfigDict):
        raise UserError(f"{path}: it needs a function get_config() that returns a ConfigDict")
    given = dict(flat(config))
    for name in dict(flat(default_config(task.groups))):
        if name not in given:
            raise UserError(
                f"{path}: the configuration lacks {name}; let get_config() begin with the "
                f"default_config() of the task {task.name!r}"
            )


def flag_error(error: Exception) -> str:
    """Says in one line what is wrong with an option or a field of the configuration."""
    # A KeyError's text is the repr of its message.
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = " ".join(str(message).split())
    wrong = re.search(r"Did you mean \"(\w+)\" instead of \"(\w+)\"", text)
    if wrong:
        return f"the configuration has no field {wrong[2]!r}: did you mean {wrong[1]!r}?"
    unlike_any = re.fullmatch(r"['\"]+(\w+)['\"]+", text)
    if unlike_any:
        return f"the configuration has no group or field {unlike_any[1]!r}: docs/ lists them"
    return text or type(error).__name__


def _run(
    task: "Task", files: bool, limits: Mapping[str, Any], act: Act | None, prefix: str
) -> None:
    config: ConfigDict = flags.FLAGS.config
    if files:
        for split in SPLITS:
            if flags.FLAGS[split].value:
                config.data[split] = flags.FLAGS[split].value
        if config.data.train:
            config.data.name = FILES
            given = config_flags.get_override_values(flags.FLAGS["config"])
            for field, value in limits.items():
                if f"data.{field}" not in given and not _config_files(sys.argv):
                    config.data[field] = value
            if limits:
                shown = ", ".join(f"data.{field}={config.data[field]}" for field in limits)
                print(f"limits of these files: {shown} (0: none; --config.data.FIELD=VALUE)")
    workdir = flags.FLAGS.workdir or f"runs/{prefix}{config.data.name}"
    if files:
        guarded(lambda: _keep_standard_input(config, Path(workdir)))

    def train(config: ConfigDict, workdir: Path, console: Console) -> object:
        from jvae.runs.run import run  # after the flags: a misspelt one answers at once

        return run(task, config, workdir, console)

    guarded(lambda: (act or train)(config, Path(workdir), Console()))


def _keep_standard_input(config: ConfigDict, workdir: Path) -> None:
    """Writes what comes from standard input into the run directory: a run is read again later.

    Raises:
      UserError: it is empty, asked for twice, or another text than the run directory holds.
    """
    from jvae.data.files import decode
    from jvae.runs.directory import make_workdir
    from jvae.training.logs import write_atomically

    splits = [split for split in SPLITS if config.data[split] == "-"]
    if not splits:
        return
    if len(splits) > 1:
        raise UserError(
            f"--{splits[0]}=- and --{splits[1]}=-: standard input is one file; name another for one"
        )
    (split,) = splits
    text = decode(sys.stdin.buffer.read(), "standard input")
    path = workdir / f"{split}.txt"
    kept = path.read_bytes().decode() if path.exists() else None
    if not text.strip() and kept is None:
        raise UserError(f"--{split}=-: standard input is empty; give it one sentence a line")
    if text.strip() and kept not in (None, text):
        raise UserError(
            f"--{split}=-: {path} holds another text than standard input; choose another --workdir"
        )
    if kept is None:
        make_workdir(workdir)
        write_atomically(path, text)
    config.data[split] = str(path)


def guarded(action: Callable[[], object]) -> None:
    """Runs `action`; the user's mistakes end in one line and exit code 2, signals in theirs."""
    import jax

    from jvae.training.loop import Interrupted

    logging.set_verbosity(logging.ERROR)  # libraries narrate below
    # Configurations name the precision; JAX_ENABLE_X64 would widen half of what must be equal.
    jax.config.update("jax_enable_x64", False)

    try:
        with terminal():
            action()
    except UserError as error:
        fail(str(error))
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        where = f" {error.filename}" if error.filename else ""
        if not where:
            discard_output()  # it may be what is full
        fail(f"cannot write{where}: {error.strerror}; free some space, then run the command again")
    except Interrupted as stop:
        print(f"stopped by {stop}: saved; the same command continues", file=sys.stderr)
        sys.exit(128 + stop.signum)


def fail(message: str) -> None:
    """Writes one line to standard error and exits with code 2."""
    print(f"jvae: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
