"""Arguments that several commands share, and their values."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jvae.errors import UserError

if TYPE_CHECKING:
    from jvae.data.files import Rows
    from jvae.tasks.text.use import Decoding


def whole(least: int) -> Callable[[str], int]:
    """Makes a parser of whole numbers that are not too small; argparse alone would name `int`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return number

    return parse


natural, positive = whole(0), whole(1)


def not_negative(text: str) -> float:
    """Parses a number of at least 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return number


def seed(text: str) -> int:
    """Parses a seed."""
    number = natural(text)
    if number >= 2**63:
        raise argparse.ArgumentTypeError(f"{text} must be below 2**63")
    return number


def add_run(parser: argparse.ArgumentParser, *, own_seed: bool = False) -> None:
    """Adds the run directory and `--seed`, by default 0, or None for the run's own."""
    parser.add_argument("run", type=Path, help="run directory")
    default, which = (None, "the run's") if own_seed else (0, "0")
    parser.add_argument(
        "--seed", type=seed, default=default, help=f"of all randomness (default: {which})"
    )


def add_file(parser: argparse.ArgumentParser) -> None:
    """Adds a file of sentences."""
    parser.add_argument("file", type=Path, help="one sentence per line; - for standard input")


def add_decoding(parser: argparse.ArgumentParser, strategy: str, unk: bool = False) -> None:
    """Adds the options of decoding; `unk` is the default of --unk."""
    parser.add_argument("--strategy", choices=("greedy", "sample", "beam"), default=strategy)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-k", type=natural, default=0)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--beam-size", type=positive, default=5)
    parser.add_argument(
        "--max-length",
        type=positive,
        help="tokens, </s> included (default: the longest training sentence)",
    )
    parser.add_argument(
        "--unk",
        action=argparse.BooleanOptionalAction,
        default=unk,
        help="whether <unk> may be produced",
    )


def decoding(arguments: argparse.Namespace) -> "Decoding":
    """Returns the options of `add_decoding`.

    Raises:
      UserError: one makes no sense.
    """
    from jvae.tasks.text.use import Decoding, check_decoding

    how = Decoding(
        strategy=arguments.strategy,
        max_length=arguments.max_length,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        beam_size=arguments.beam_size,
        allow_unk=arguments.unk,
    )
    return check_decoding(how, "--")


def key(arguments: argparse.Namespace) -> Any:
    """Returns the random key of `--seed`."""
    import jax

    return jax.random.key(arguments.seed)


def small_seed(arguments: argparse.Namespace) -> int:
    """Returns `--seed` as scikit-learn takes it, below 2**32."""
    return int(arguments.seed % 2**32)


def load(arguments: argparse.Namespace) -> Any:
    """Reads the run directory."""
    from jvae.api import load_run
    from jvae.runs.process import prepare_process

    prepare_process()
    return load_run(arguments.run)


def sentences(path: Path) -> list[str]:
    """Reads a file of one sentence per line, with its spaces; `-` stands for standard input.

    Raises:
      UserError: it cannot be read, or a line is blank.
    """
    from jvae.data.files import decode

    data, name = _content(path)
    text = decode(data, name)
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    # Skipping a blank line would shift all that follows against the file.
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise UserError(f"{name}: line {number} is blank; every line must be a sentence")
    return lines


def rows(path: Path, label: bool) -> "Rows":
    """Reads a file of sentences, or of `label<TAB>sentence` lines."""
    from jvae.data.files import parse

    data, name = _content(path, label)
    return parse(data, name, label=label, spaces=True)


def _content(path: Path, label: bool = False) -> tuple[bytes, str]:
    """Returns the bytes of a file of plain lines, and its name in messages."""
    from jvae.data.files import TABLES, ending, read_bytes

    if str(path) == "-":
        return sys.stdin.buffer.read(), "standard input"
    kind = ending(path)
    if kind in TABLES and not (label and kind == ".tsv"):  # labelled lines may be named so
        content = "`label<TAB>sentence` lines" if label else "sentences"
        raise UserError(
            f"{path}: a {kind} file; this command reads plain lines: write its {content} into a "
            ".txt, one a line"
        )
    return read_bytes(path), str(path)


def note_lost(run: Any, sentences: Sequence[str]) -> None:
    """Says on standard error which words of the sentences the model did not read."""
    from jvae.data import encode_split

    longest = run.config.data.max_length or None
    _, report, _ = encode_split(run.trained.resources, sentences, max_length=longest)
    lost = []
    if report.truncated:
        lost.append(
            f"{report.truncated:,} of {report.sentences:,} sentences cut to {longest} tokens"
        )
    if report.unknown:
        lost.append(f"{report.unknown:,} of {report.tokens:,} tokens unknown to the model (<unk>)")
    if lost:
        print(f"note: {', '.join(lost)}", file=sys.stderr)


def print_all(lines: Iterable[str]) -> None:
    """Prints lines."""
    for line in lines:
        print(line)
