"""What each subcommand of `jvae` does with its parsed arguments."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jvae.errors import UserError


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


def _read(path: Path, label: bool = False) -> tuple[bytes, str]:
    """What a file of plain lines holds, and its name in messages."""
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


def _rows(path: Path, label: bool) -> Any:
    from jvae.data.files import parse

    data, name = _read(path, label)
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


def _tell_lost(run: Any, sentences: Sequence[str]) -> None:
    """Says on standard error what of the sentences the model did not read as it is written."""
    from jvae.data import encode_split

    longest = run.config.data.max_length or None
    _, report, _ = encode_split(run.tokenizer, sentences, max_length=longest)
    lost = []
    if report.truncated:
        lost.append(
            f"{report.truncated:,} of {report.sentences:,} sentences cut to {longest} tokens"
        )
    if report.unknown:
        lost.append(f"{report.unknown:,} of {report.tokens:,} tokens unknown to the model (<unk>)")
    if lost:
        print(f"note: {', '.join(lost)}", file=sys.stderr)


def _print_all(sentences: list[str]) -> None:
    for sentence in sentences:
        print(sentence)


def evaluate(arguments: argparse.Namespace) -> None:
    """Prints the table of numbers, sentences and pictures of one split."""
    import dataclasses

    from rich.console import Console

    from jvae.evaluation.programs import make_programs
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
    data = encode_corpus(run.config, load_data_corpus(run.config), run.tokenizer, run.workdir)
    parallel = MODES["jit"](choose_devices(None), 1)
    programs = make_programs(run.model, parallel.compile_evaluation, parallel.shard)
    console = Console()
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    params = parallel.replicate(run.params)
    fitted = fit_evaluation(run.config, programs, params, data, parallel, run.tokenizer.vocab_size)
    predicted = forecast(fitted.needs, parallel, say)
    if arguments.seed is not None:  # only now: it also splits a corpus of one file
        with fitted.config.unlocked():
            fitted.config.training.seed = arguments.seed
    evaluate_run(
        dataclasses.replace(run, config=fitted.config),
        programs,
        data,
        parallel,
        read_metrics(run.workdir),
        console,
        fitted.iw_chunk,
        arguments.split,
    )
    say(measured(predicted))


def quality(arguments: argparse.Namespace) -> None:
    """Judges samples and reconstructions as text."""
    from rich.console import Console

    from jvae.experiments.quality import QUALITY, measure, print_table
    from jvae.experiments.report import save_results
    from jvae.experiments.setup import encode_corpus, load_data_corpus

    run, how = _of_split(_load(arguments), arguments.split), _how(arguments)
    data = encode_corpus(run.config, load_data_corpus(run.config), run.tokenizer, run.workdir)
    console = Console()
    results = measure(
        run,
        data,
        how,
        number=arguments.number,
        reconstruction=arguments.reconstruction,
        pairs=arguments.pairs,
        seed=arguments.seed,
        say=partial(console.print, highlight=False, markup=False, soft_wrap=True),
    )
    print_table(console, f"{data.corpus.name}, epoch {run.epoch}", results)
    save_results(run.workdir, results, QUALITY)


def prune(arguments: argparse.Namespace) -> None:
    """Prints vectors kept and reconstruction at several thresholds of an NVIB run."""
    from jvae.experiments.pruning import PRUNING, curve, lines
    from jvae.experiments.report import save_results
    from jvae.experiments.setup import encode_corpus, load_data_corpus
    from jvae.experiments.use import Decoding

    run = _of_split(_load(arguments), arguments.split)
    data = encode_corpus(run.config, load_data_corpus(run.config), run.tokenizer, run.workdir)
    points = curve(run, data, arguments.thresholds, Decoding(), key=_key(arguments))
    _print_all(lines(points))
    results = {"split": run.config.evaluation.split, "points": points}
    save_results(run.workdir, results, PRUNING)


def _of_split(run: Any, split: str) -> Any:
    """The run as if it had been evaluated on `split`."""
    with run.config.unlocked():
        run.config.evaluation.split = split
    return run


def sample(arguments: argparse.Namespace) -> None:
    """Prints sentences from the prior."""
    from jvae.experiments.use import sample_prior

    run, how = _load(arguments), _how(arguments)
    _print_all(sample_prior(run, arguments.number, how, key=_key(arguments)))


def reconstruct(arguments: argparse.Namespace) -> None:
    """Prints each sentence of a file, decoded again."""
    from jvae.experiments import use

    run, how, sentences = _load(arguments), _how(arguments), _sentences(arguments.file)
    found = use.reconstruct(run, sentences, how, key=_key(arguments))
    _tell_lost(run, sentences)
    _print_all(found)


def interpolate(arguments: argparse.Namespace) -> None:
    """Prints the sentences between two."""
    from jvae.experiments import use

    run, how = _load(arguments), _how(arguments)
    first, second, steps, path = arguments.first, arguments.second, arguments.steps, arguments.path
    found = use.interpolate(run, first, second, steps, how, key=_key(arguments), path=path)
    _tell_lost(run, [first, second])
    _print_all(found)


def encode(arguments: argparse.Namespace) -> None:
    """Writes posterior means and log variances of a file's sentences; of sets one mean each."""
    import numpy as np

    from jvae.distributions import VectorSet
    from jvae.experiments import use

    run, sentences = _load(arguments), _sentences(arguments.file)
    terms = use.encode(run, sentences, key=_key(arguments))
    arrays: dict[str, Any] = {"mean": terms.mean, "log_var": terms.log_var}
    told = "mean and log_var {}"
    if isinstance(terms.centre, VectorSet):
        arrays, told = {"mean": terms.mean}, "mean {} pooled over each sentence's vectors"
    try:
        with open(arguments.output, "wb") as file:
            np.savez(file, sentences=np.asarray(sentences), **arrays)
    except OSError as error:
        raise UserError(f"cannot write {arguments.output}: {error.strerror}") from error
    _tell_lost(run, sentences)
    print(f"{arguments.output}: {told.format(list(terms.mean.shape))}, sentences")


def import_torch(arguments: argparse.Namespace) -> None:
    """Makes a run directory from a PyTorch checkpoint."""
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


def arithmetic(arguments: argparse.Namespace) -> None:
    """Prints the sentence at A - B + C."""
    from jvae.experiments import use

    run, how = _load(arguments), _how(arguments)
    minus = (arguments.a, arguments.b)
    found = use.arithmetic(run, minus, arguments.c, how, key=_key(arguments))
    _tell_lost(run, [*minus, arguments.c])
    print(found)


def neighbours(arguments: argparse.Namespace) -> None:
    """Prints the sentences of a file nearest to those given."""
    from jvae.experiments import downstream

    run, sentences = _load(arguments), _sentences(arguments.file)
    queries, number, metric = arguments.queries, arguments.number, arguments.metric
    found = downstream.neighbours(run, sentences, queries, number, metric, key=_key(arguments))
    _tell_lost(run, [*queries, *sentences])
    _print_all(found)


def cluster(arguments: argparse.Namespace) -> None:
    """Prints the clusters of a file's sentences."""
    from jvae.experiments import downstream

    rows = _rows(arguments.file, arguments.label)
    number, typical, seed = arguments.clusters, arguments.number, _small_seed(arguments)
    run = _load(arguments)
    found = downstream.cluster(run, rows, number, typical, seed=seed, key=_key(arguments))
    _tell_lost(run, rows.sentences)
    _print_all(found)


def probe(arguments: argparse.Namespace) -> None:
    """Prints how well posterior means tell the labels of a file."""
    from jvae.experiments import downstream

    train = _rows(arguments.file, True)
    test = _rows(arguments.test, True) if arguments.test else None
    folds, seed = arguments.folds, _small_seed(arguments)
    run = _load(arguments)
    found = downstream.probe(run, train, test, folds, seed=seed, key=_key(arguments))
    _tell_lost(run, [*train.sentences, *(test.sentences if test else [])])
    _print_all(found)


def impute(arguments: argparse.Namespace) -> None:
    """Prints the sentences of a file with their blanks filled."""
    from jvae.experiments.downstream import filled_lines
    from jvae.experiments.impute import Search
    from jvae.experiments.impute import impute as fill

    run, sentences = _load(arguments), _sentences(arguments.file)
    search = Search(arguments.draws, arguments.beam_size, arguments.rounds, arguments.samples)
    found = fill(run, sentences, search, key=_key(arguments))
    _print_all(filled_lines(found, arguments.number))
