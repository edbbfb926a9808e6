"""The console script `jvae`: what a finished run directory can do."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from jvae.experiments import subcommands
from jvae.experiments.command import fail, guarded


class _Parser(argparse.ArgumentParser):
    """Answers a wrong command line in one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        fail(f"{message}; see {self.prog} --help")
        raise SystemExit(2)


def _whole(least: int) -> Callable[[str], int]:
    """A whole number that is not too small; argparse alone would name this function instead."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return number

    return parse


_natural, _positive, _folds = _whole(0), _whole(1), _whole(2)


def _seed(text: str) -> int:
    number = _natural(text)
    if number >= 2**63:
        raise argparse.ArgumentTypeError(f"{text} must be below 2**63")
    return number


def _tolerance(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return number


def _parser() -> argparse.ArgumentParser:
    more = "jvae compare --help: several training methods on one corpus"
    parser = _Parser(prog="jvae", description=__doc__, epilog=more)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)

    def command(
        name: str, act: Callable[[argparse.Namespace], None], text: str, *, own_seed: bool = False
    ) -> Any:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("run", type=Path, help="run directory")
        seed, which = (None, "the run's") if own_seed else (0, "0")
        sub.add_argument(
            "--seed", type=_seed, default=seed, help=f"of all randomness (default: {which})"
        )
        sub.set_defaults(act=act)
        return sub

    def decoding(sub: Any, strategy: str) -> None:
        sub.add_argument("--strategy", choices=("greedy", "sample", "beam"), default=strategy)
        sub.add_argument("--temperature", type=float, default=1.0)
        sub.add_argument("--top-k", type=_natural, default=0)
        sub.add_argument("--top-p", type=float, default=1.0)
        sub.add_argument("--beam-size", type=_positive, default=5)
        sub.add_argument("--max-length", type=_positive, default=50, help="tokens, </s> included")
        sub.add_argument("--no-unk", action="store_true", help="never produce <unk>")

    evaluate = command(
        "evaluate",
        subcommands.evaluate,
        "print numbers and sentences, draw pictures; replaces the run's results.json (of another "
        "split: results-SPLIT.json)",
        own_seed=True,
    )
    evaluate.add_argument("--split", choices=("train", "valid", "test"), default="test")
    evaluate.add_argument("--iw-samples", type=_positive, help="K of IW-NLL")
    evaluate.add_argument(
        "--iw-tolerance",
        type=_tolerance,
        help="nats: fewer samples once the rest would change IW-NLL by less; 0 for all",
    )
    evaluate.add_argument("--iw-sentences", type=_natural, help="the first so many; 0 for all")

    quality = command("quality", subcommands.quality, "judge samples and reconstructions as text")
    quality.add_argument("-n", "--number", type=_natural, default=0, help="0: as training text")
    quality.add_argument("--reconstruction", choices=("greedy", "beam"), default="greedy")
    quality.add_argument(
        "--pairs", type=_natural, default=100, help="of sentences, to interpolate between"
    )
    quality.add_argument("--split", choices=("valid", "test"), default="test")
    decoding(quality, "sample")
    quality.set_defaults(max_length=0)

    prune = command(
        "prune", subcommands.prune, "an NVIB run's vectors kept and reconstruction, by threshold"
    )
    prune.add_argument(
        "thresholds",
        nargs="+",
        type=_tolerance,
        metavar="ALPHA",
        help="up to it there is no vector; 0: only where alpha is 0",
    )
    prune.add_argument("--split", choices=("valid", "test"), default="test")

    sample = command("sample", subcommands.sample, "sentences from the prior")
    sample.add_argument("-n", "--number", type=_positive, default=10)
    decoding(sample, "sample")

    reconstruct = command(
        "reconstruct", subcommands.reconstruct, "decode each sentence of a file again"
    )
    reconstruct.add_argument("file", type=Path, help="one sentence per line; - for standard input")
    decoding(reconstruct, "greedy")

    interpolate = command(
        "interpolate", subcommands.interpolate, "sentences between two of your own"
    )
    interpolate.add_argument("first")
    interpolate.add_argument("second")
    interpolate.add_argument("--steps", type=int, default=7, help="sentences in all")
    interpolate.add_argument(
        "--path",
        choices=("linear", "spherical"),
        default="linear",
        help="of one vector; sets of vectors have one way of their own: leave it out",
    )
    decoding(interpolate, "greedy")

    encode = command(
        "encode",
        subcommands.encode,
        "posterior means and log variances of a file, as .npz; of sets pooled means",
    )
    encode.add_argument("file", type=Path, help="one sentence per line; - for standard input")
    encode.add_argument("-o", "--output", type=Path, required=True, help="FILE.npz")

    text = "a run directory from a PyTorch checkpoint of He et al.'s or Li et al.'s scripts"
    bring = commands.add_parser("import-torch", help=text, description=text)
    bring.add_argument("run", type=Path, help="run directory, to be made")
    bring.add_argument("checkpoint", type=Path, help="their .pt, a state_dict")
    bring.add_argument("--train", type=Path, required=True, help="the sentences it was trained on")
    bring.add_argument("--valid", type=Path, help="without: some of --train")
    bring.add_argument("--test", type=Path, help="without: some of --train")
    bring.add_argument("--label", action="store_true", help="lines are label<TAB>sentence")
    bring.add_argument("--vocabulary", type=Path, help="a word a line; without: made from --train")
    bring.set_defaults(act=subcommands.import_torch)

    arithmetic = command(
        "arithmetic", subcommands.arithmetic, "A - B + C of posterior means, decoded"
    )
    for name in "abc":
        arithmetic.add_argument(name, metavar=name.upper(), help="a sentence")
    decoding(arithmetic, "greedy")

    neighbours = command(
        "neighbours", subcommands.neighbours, "the sentences of a file nearest to your own"
    )
    neighbours.add_argument("file", type=Path, help="one sentence per line; - for standard input")
    neighbours.add_argument("queries", nargs="+", metavar="sentence")
    neighbours.add_argument("-n", "--number", type=_positive, default=5, help="for each sentence")
    neighbours.add_argument("--metric", choices=("euclidean", "cosine"), default="euclidean")

    cluster = command(
        "cluster", subcommands.cluster, "k-means of posterior means, with typical sentences"
    )
    cluster.add_argument("file", type=Path, help="one sentence per line; - for standard input")
    cluster.add_argument("-k", "--clusters", type=_positive, default=10)
    cluster.add_argument("-n", "--number", type=_positive, default=3, help="typical sentences")
    cluster.add_argument(
        "--label", action="store_true", help="lines are label<TAB>sentence: agreement with labels"
    )

    probe = command("probe", subcommands.probe, "logistic regression of labels on posterior means")
    probe.add_argument("file", type=Path, help="label<TAB>sentence lines; - for standard input")
    probe.add_argument("--test", type=Path, help="measured on this file, not by cross-validation")
    probe.add_argument("--folds", type=_folds, default=5, help="of the cross-validation")

    impute = command("impute", subcommands.impute, "fill the blanks (_) of each sentence of a file")
    impute.add_argument("file", type=Path, help="one sentence per line; - for standard input")
    impute.add_argument(
        "-n", "--number", type=_positive, default=1, help="fillings; 2 or more with their shares"
    )
    impute.add_argument("--draws", type=_positive, default=8, help="z in each round")
    impute.add_argument("--beam-size", type=_positive, default=5, help="fillings of each z")
    impute.add_argument("--rounds", type=_positive, default=5, help="at most")
    impute.add_argument("--samples", type=_positive, default=100, help="K that weigh a filling")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Parses and runs one subcommand."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["compare"]:  # it trains: its flags are those of an experiment
        from jvae.experiments import compare

        sys.argv = ["jvae compare", *words[1:]]
        compare.main()
    arguments = _parser().parse_args(argv)
    guarded(lambda: arguments.act(arguments))


if __name__ == "__main__":
    main()
