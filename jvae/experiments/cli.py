"""The console script `jvae`: what a finished run directory can do."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from jvae.errors import UserError
from jvae.experiments.command import fail, guarded


class _Parser(argparse.ArgumentParser):
    """Answers a wrong command line in one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        fail(f"{message}; see {self.prog} --help")
        raise SystemExit(2)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return number


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} must be at least 0")
    return number


def _seed(text: str) -> int:
    number = _natural(text)
    if number >= 2**63:
        raise argparse.ArgumentTypeError(f"{text} must be below 2**63")
    return number


def _folds(text: str) -> int:
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError(f"{text} must be at least 2")
    return number


def _tolerance(text: str) -> float:
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"{text} must be at least 0")
    return number


def _parser() -> argparse.ArgumentParser:
    more = "jvae compare --help: several training methods on one corpus"
    parser = _Parser(prog="jvae", description=__doc__, epilog=more)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)

    def command(name: str, act: Callable[[argparse.Namespace], None], text: str) -> Any:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("run", type=Path, help="run directory")
        sub.add_argument("--seed", type=_seed, default=0, help="of all randomness (default 0)")
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

    evaluate = command("evaluate", _evaluate, "print the table of numbers, sentences, pictures")
    evaluate.add_argument("--split", choices=("train", "valid", "test"), default="test")
    evaluate.add_argument("--iw-samples", type=_positive, help="K of IW-NLL")
    evaluate.add_argument(
        "--iw-tolerance",
        type=_tolerance,
        help="nats: fewer samples once the rest would change IW-NLL by less; 0 for all",
    )
    evaluate.add_argument("--iw-sentences", type=_natural, help="the first so many; 0 for all")

    quality = command("quality", _quality, "judge samples and reconstructions as text")
    quality.add_argument("-n", "--number", type=_natural, default=0, help="0: as training text")
    quality.add_argument("--reconstruction", choices=("greedy", "beam"), default="greedy")
    decoding(quality, "sample")
    quality.set_defaults(max_length=0)

    sample = command("sample", _sample, "sentences from the prior")
    sample.add_argument("-n", "--number", type=_positive, default=10)
    decoding(sample, "sample")

    reconstruct = command("reconstruct", _reconstruct, "decode each sentence of a file again")
    reconstruct.add_argument("file", type=Path, help="one sentence per line; - for standard input")
    decoding(reconstruct, "greedy")

    interpolate = command("interpolate", _interpolate, "sentences between two of your own")
    interpolate.add_argument("first")
    interpolate.add_argument("second")
    interpolate.add_argument("--steps", type=int, default=7, help="sentences in all")
    interpolate.add_argument("--path", choices=("linear", "spherical"), default="linear")
    decoding(interpolate, "greedy")

    encode = command("encode", _encode, "posterior means and variances of a file, as .npz")
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
    bring.set_defaults(act=_import_torch)
    arithmetic = command("arithmetic", _arithmetic, "A - B + C of posterior means, decoded")
    for name in "abc":
        arithmetic.add_argument(name, metavar=name.upper(), help="a sentence")
    decoding(arithmetic, "greedy")

    neighbours = command("neighbours", _neighbours, "the sentences of a file nearest to your own")
    neighbours.add_argument("file", type=Path, help="one sentence per line; - for standard input")
    neighbours.add_argument("queries", nargs="+", metavar="sentence")
    neighbours.add_argument("-n", "--number", type=_positive, default=5, help="for each sentence")
    neighbours.add_argument("--metric", choices=("euclidean", "cosine"), default="euclidean")

    cluster = command("cluster", _cluster, "k-means of posterior means, with typical sentences")
    cluster.add_argument("file", type=Path, help="one sentence per line; - for standard input")
    cluster.add_argument("-k", "--clusters", type=_positive, default=10)
    cluster.add_argument("-n", "--number", type=_positive, default=3, help="typical sentences")
    cluster.add_argument(
        "--label", action="store_true", help="lines are label<TAB>sentence: agreement with labels"
    )

    probe = command("probe", _probe, "logistic regression of labels on posterior means")
    probe.add_argument("file", type=Path, help="label<TAB>sentence lines; - for standard input")
    probe.add_argument("--test", type=Path, help="measured on this file, not by cross-validation")
    probe.add_argument("--folds", type=_folds, default=5, help="of the cross-validation")

    impute = command("impute", _impute, "fill the blanks (_) of each sentence of a file")
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


def _load(arguments: argparse.Namespace) -> Any:
    from jvae.experiments.process import prepare_process
    from jvae.experiments.setup import load_run

    prepare_process()
    return load_run(arguments.run)


def _key(arguments: argparse.Namespace) -> Any:
    import jax

    return jax.random.key(arguments.seed)


def _small_seed(arguments: argparse.Namespace) -> int:
    return arguments.seed % 2**32  # scikit-learn takes no larger one


def _how(arguments: argparse.Namespace) -> Any:
    from jvae.experiments.use import Decoding

    if arguments.temperature <= 0:
        raise UserError(
            f"--temperature={arguments.temperature} must be above 0; greedy is its limit"
        )
    if not 0 < arguments.top_p <= 1:
        raise UserError(f"--top-p={arguments.top_p} must be above 0 and at most 1")
    return Decoding(
        strategy=arguments.strategy,
        max_length=arguments.max_length,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        beam_size=arguments.beam_size,
        allow_unk=not arguments.no_unk,
    )


def _read(path: Path) -> tuple[bytes, str]:
    """What a file holds, and its name in messages."""
    from jvae.data.files import read_bytes

    if str(path) == "-":
        return sys.stdin.buffer.read(), "standard input"
    return read_bytes(path), str(path)


def _rows(path: Path, label: bool) -> Any:
    from jvae.data.files import parse

    data, name = _read(path)
    return parse(data, name, label=label)


def _sentences(path: Path) -> list[str]:
    from jvae.data.files import decode

    data, name = _read(path)
    text = decode(data, name)
    sentences = [line.strip(" \t\r") for line in text.removesuffix("\n").split("\n")]
    # Skipping a blank line would shift all that follows against the file.
    for number, sentence in enumerate(sentences, start=1):
        if not sentence.strip():
            raise UserError(f"{name}: line {number} is blank; every line must be a sentence")
    return sentences


def _print_all(sentences: list[str]) -> None:
    for sentence in sentences:
        print(sentence)


def _evaluate(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from jvae.evaluation.evaluate import make_programs
    from jvae.experiments.memory import fit_evaluation, forecast, measured
    from jvae.experiments.runner import evaluate_run
    from jvae.experiments.setup import encode_corpus, load_data_corpus
    from jvae.training.logs import read_metrics
    from jvae.training.parallel import MODES, choose_devices

    run = _load(arguments)
    with run.config.unlocked():
        if arguments.iw_samples:
            run.config.evaluation.iw_samples = arguments.iw_samples
        if arguments.iw_sentences is not None:
            run.config.evaluation.iw_sentences = arguments.iw_sentences
        if arguments.iw_tolerance is not None:
            run.config.evaluation.iw_tolerance = arguments.iw_tolerance
    data = encode_corpus(run.config, load_data_corpus(run.config), run.tokenizer)
    parallel = MODES["jit"](choose_devices(None), 1)
    programs = make_programs(run.model, parallel.compile_evaluation, parallel.shard)
    console = Console()
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    params = parallel.replicate(run.params)
    fitted = fit_evaluation(run.config, programs, params, data, parallel, run.tokenizer.vocab_size)
    predicted = forecast(fitted.needs, parallel, say)
    evaluate_run(
        run,
        programs,
        data,
        parallel,
        read_metrics(run.workdir),
        console,
        fitted.iw_chunk,
        arguments.split,
    )
    say(measured(predicted))


def _quality(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from jvae.experiments.quality import QUALITY, measure, print_table
    from jvae.experiments.report import save_results
    from jvae.experiments.setup import encode_corpus, load_data_corpus

    run, how = _load(arguments), _how(arguments)
    data = encode_corpus(run.config, load_data_corpus(run.config), run.tokenizer)
    console = Console()
    results = measure(
        run,
        data,
        how,
        number=arguments.number,
        reconstruction=arguments.reconstruction,
        seed=arguments.seed,
        say=partial(console.print, highlight=False, markup=False, soft_wrap=True),
    )
    print_table(console, f"{data.corpus.name}, epoch {run.epoch}", results)
    save_results(run.workdir, results, QUALITY)


def _sample(arguments: argparse.Namespace) -> None:
    from jvae.experiments.use import sample_prior

    run, how = _load(arguments), _how(arguments)
    _print_all(sample_prior(run, arguments.number, how, key=_key(arguments)))


def _reconstruct(arguments: argparse.Namespace) -> None:
    from jvae.experiments.use import reconstruct

    run, how = _load(arguments), _how(arguments)
    _print_all(reconstruct(run, _sentences(arguments.file), how, key=_key(arguments)))


def _interpolate(arguments: argparse.Namespace) -> None:
    from jvae.experiments.use import interpolate

    run, how = _load(arguments), _how(arguments)
    _print_all(
        interpolate(
            run,
            arguments.first,
            arguments.second,
            arguments.steps,
            how,
            key=_key(arguments),
            path=arguments.path,
        )
    )


def _encode(arguments: argparse.Namespace) -> None:
    import numpy as np

    from jvae.experiments.use import encode

    run, sentences = _load(arguments), _sentences(arguments.file)
    terms = encode(run, sentences, key=_key(arguments))
    try:
        with open(arguments.output, "wb") as file:
            np.savez(file, mean=terms.mean, log_var=terms.log_var, sentences=np.asarray(sentences))
    except OSError as error:
        raise UserError(f"cannot write {arguments.output}: {error.strerror}") from error
    print(f"{arguments.output}: mean and log_var {list(terms.mean.shape)}, sentences")


def _import_torch(arguments: argparse.Namespace) -> None:
    from jvae.experiments.import_torch import import_arrays, read_state_dict
    from jvae.experiments.process import prepare_process

    arrays = read_state_dict(arguments.checkpoint)
    prepare_process()
    sizes = import_arrays(
        arrays,
        arguments.run,
        train=arguments.train,
        valid=arguments.valid,
        test=arguments.test,
        label=arguments.label,
        vocabulary=arguments.vocabulary,
    )
    print(f"{arguments.run}: " + ", ".join(f"{n} {s:,}" for n, s in sizes._asdict().items()))


def _arithmetic(arguments: argparse.Namespace) -> None:
    from jvae.experiments.use import arithmetic

    run, how = _load(arguments), _how(arguments)
    minus = (arguments.a, arguments.b)
    print(arithmetic(run, minus, arguments.c, how, key=_key(arguments)))


def _neighbours(arguments: argparse.Namespace) -> None:
    from jvae.experiments.downstream import neighbours

    run, sentences = _load(arguments), _sentences(arguments.file)
    queries, number, metric = arguments.queries, arguments.number, arguments.metric
    _print_all(neighbours(run, sentences, queries, number, metric, key=_key(arguments)))


def _cluster(arguments: argparse.Namespace) -> None:
    from jvae.experiments.downstream import cluster

    rows = _rows(arguments.file, arguments.label)
    number, typical, seed = arguments.clusters, arguments.number, _small_seed(arguments)
    found = cluster(_load(arguments), rows, number, typical, seed=seed, key=_key(arguments))
    _print_all(found)


def _probe(arguments: argparse.Namespace) -> None:
    from jvae.experiments.downstream import probe

    train = _rows(arguments.file, True)
    test = _rows(arguments.test, True) if arguments.test else None
    folds, seed = arguments.folds, _small_seed(arguments)
    _print_all(probe(_load(arguments), train, test, folds, seed=seed, key=_key(arguments)))


def _impute(arguments: argparse.Namespace) -> None:
    from jvae.experiments.downstream import filled_lines
    from jvae.experiments.impute import Search, impute

    run, sentences = _load(arguments), _sentences(arguments.file)
    search = Search(arguments.draws, arguments.beam_size, arguments.rounds, arguments.samples)
    found = impute(run, sentences, search, key=_key(arguments))
    _print_all(filled_lines(found, arguments.number))


if __name__ == "__main__":
    main()
