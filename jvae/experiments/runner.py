"""One run from a configuration to its report: data, training, evaluation, sentences, pictures."""

import dataclasses
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from rich.console import Console

from jvae.data import Corpus, Tokenizer
from jvae.evaluation.evaluate import EvaluationSettings, evaluate
from jvae.evaluation.programs import Programs, make_programs
from jvae.experiments import report
from jvae.experiments.building import make_model
from jvae.experiments.checks import check
from jvae.experiments.config import PRECISIONS
from jvae.experiments.counts import COUNTS, fitted_prior, has_counts, read_counts
from jvae.experiments.job import make_job, split_batches
from jvae.experiments.memory import fit_evaluation, forecast, measured
from jvae.experiments.pretraining import FOLDER, RECORD, cost, pretrain, with_encoder
from jvae.experiments.process import Compilations, prepare_process
from jvae.experiments.setup import (
    RESULTS,
    TOKENIZER,
    Data,
    TrainedRun,
    encode_corpus,
    fingerprint,
    initial_state,
    is_finished,
    load_data_corpus,
    make_tokenizer,
    open_run,
    refuse_difference,
    save_config,
)
from jvae.experiments.starting import load_start, start_from
from jvae.training import checkpoint
from jvae.training.logs import MetricsLog, Progress, write_atomically
from jvae.training.loop import train
from jvae.training.parallel import MODES, Parallel, choose_devices, join_processes
from jvae.training.profile import Profiler
from jvae.training.state import num_parameters


def run(
    config: ConfigDict,
    workdir: Path,
    console: Console,
    *,
    pretraining: Path | None = None,
    corpus: Corpus | None = None,
    tokenizer: Tokenizer | None = None,
) -> dict[str, Any]:
    """Trains (or goes on), evaluates, shows. The same call again continues where it was stopped.

    Args:
      config: all of it.
      workdir: the run directory.
      console: where it shows.
      pretraining: directory of the first phase, where there is one; by default in `workdir`.
        Several runs may share it, and none needs it once its second phase has begun.
      corpus: instead of the one that `config.data` names.
      tokenizer: instead of one of the training split.

    Raises:
      UserError: the configuration, the data or the run directory is at fault.
      jvae.training.loop.Interrupted: on SIGINT or SIGTERM, after a checkpoint.
    """
    start = time.monotonic()
    check(config)
    prepare_process()
    options = config.training
    join_processes(options.coordinator, options.num_processes, options.process_id)
    if jax.process_index() != 0:
        # Of several processes the first speaks, and writes all but its checkpoints' part.
        console = Console(quiet=True)
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    with Compilations() as compilations:
        results = _run(
            config, workdir, console, say, pretraining or workdir / FOLDER, corpus, tokenizer
        )
    say(f"\n{time.monotonic() - start:.0f} s in all; {compilations}; everything is in {workdir}")
    return results


def _run(
    config: ConfigDict,
    workdir: Path,
    console: Console,
    say: Callable[[str], None],
    pretraining: Path,
    corpus: Corpus | None,
    tokenizer: Tokenizer | None,
) -> dict[str, Any]:
    options = config.training
    first = jax.process_index() == 0
    devices = choose_devices(options.num_devices or None)
    parallel = MODES[options.parallel](devices, options.vocab_shards)
    checkpoints, stored = open_run(config, workdir)
    corpus = corpus or load_data_corpus(config)
    if stored is not None and stored["corpus"] != corpus.fingerprint:
        refuse_difference(workdir, f"the corpus {corpus.name} holds other sentences than before")
    scratch = None if first else tempfile.TemporaryDirectory(prefix="jvae-")
    own = Path(scratch.name) if scratch else workdir
    if stored is not None and (workdir / TOKENIZER).exists():
        tokenizer = Tokenizer.load(workdir / TOKENIZER)
    else:
        tokenizer = tokenizer or make_tokenizer(config, corpus)
    vocabulary = fingerprint(tokenizer.to_json())
    if stored is not None and stored["vocabulary"] != vocabulary:
        refuse_difference(workdir, f"{workdir / TOKENIZER} holds another vocabulary than before")
    data = encode_corpus(config, corpus, tokenizer, own)
    for note in data.notes:
        say(f"data  {note}")

    if not is_finished(own, config):  # of fewer epochs, or of another split
        (own / RESULTS).unlink(missing_ok=True)
    write_atomically(own / TOKENIZER, tokenizer.to_json())
    save_config(own, config)
    write_atomically(own / "environment.json", json.dumps(environment(), indent=2) + "\n")

    meta = {"config": config.to_dict(), "corpus": corpus.fingerprint, "vocabulary": vocabulary}
    encoder = None
    if options.pretrain_epochs and stored is None:
        encoder, record = pretrain(
            config,
            pretraining,
            own / FOLDER if scratch else pretraining,
            tokenizer,
            data,
            meta,
            parallel,
            say,
        )
        write_atomically(own / RECORD, json.dumps(record, indent=2) + "\n")

    model = make_model(config, tokenizer.vocab_size)
    lengths = data.splits["train"].widths
    # The other run first: of it only the parameters are kept beside the whole fresh state.
    start = load_start(config, vocabulary) if options.start_from and stored is None else None
    state = initial_state(config, model, tokenizer.vocab_size, lengths)
    if start is not None:
        state = start_from(config, state, start, say)
        del start
    state = parallel.place_state(state)
    parts = f" in {options.vocab_shards} parts" if options.vocab_shards > 1 else ""
    say(
        f"model {config.model.mode}, {num_parameters(state.params):,} parameters, "
        f"vocabulary {tokenizer.vocab_size:,}{parts}, {parallel.num_devices} "
        f"{jax.local_devices()[0].platform} device(s); run directory {workdir}"
    )
    if stored is not None:
        state = parallel.place_state(checkpoint.restore(checkpoints, state))
        say(f"resumed at step {int(state.step)}, {int(state.epoch)} epochs finished")
    if encoder is not None:
        state = with_encoder(state, encoder)
    if stored is None and (options.pretrain_epochs or options.start_from):
        # From here on the first phase, or the other run, may be deleted.
        checkpoint.save(checkpoints, state, meta, None)
    log = MetricsLog(own, int(state.epoch))
    programs = make_programs(model, parallel.compile_evaluation, parallel.shard)
    # Training's products may be rounded; the programs that report numbers are not.
    trained_model = make_model(config, tokenizer.vocab_size, PRECISIONS[options.precision])
    fitted = fit_evaluation(config, programs, state.params, data, parallel, tokenizer.vocab_size)
    config = fitted.config
    job, memory, microbatches = make_job(
        config, trained_model, programs, data, parallel, state, meta
    )
    parts = f" in {microbatches} microbatches" if microbatches > 1 else ""
    needs = {f"a training step{parts}": memory, **fitted.needs}
    predicted = forecast(needs, parallel, say, saved=state)
    progress = Progress(
        say,
        config.training.log_seconds,
        config.training.epochs,
        row="sentence",
        symbol="token",
    )
    profiler = Profiler(own / "profile", config.training.profile)
    try:
        state = train(job, state, checkpoints, log, progress, profiler, say)
        state = checkpoint.shapes(state)  # lets go of the arrays: the best take their place
        best = checkpoint.restore(checkpoints, state, best=True)
    finally:
        profiler.close()
        if profiler.summary:
            say(profiler.summary)
        log.close()
        checkpoints.close()
    params, epoch = best.params, int(best.best_epoch)
    if has_counts(config):
        # p(n) learns slowly, and of training, where nothing is pruned.
        sentences = split_batches(config, data, "train", parallel)
        counts = read_counts(programs, params, sentences, key=parallel.replicate(jax.random.key(0)))
        params = fitted_prior(model, params, counts)
        write_atomically(
            own / COUNTS, json.dumps({"epoch": epoch, "sentences": counts.tolist()}) + "\n"
        )
    trained = TrainedRun(own, config, tokenizer, model, params, epoch)
    del best, params, job
    results = evaluate_run(
        trained,
        programs,
        data,
        parallel,
        log.history,
        console,
        fitted.iw_chunk,
        config.evaluation.split,
    )
    say(measured(predicted))
    if scratch:
        scratch.cleanup()
    return results


def evaluate_run(
    trained: TrainedRun,
    programs: Programs,
    data: Data,
    parallel: Parallel,
    history: list[dict[str, Any]],
    console: Console,
    iw_chunk: int,
    split: str,
) -> dict[str, Any]:
    """Evaluates the best epoch on a split, prints and saves table, sentences and pictures."""
    options = trained.config.evaluation
    start = time.monotonic()
    params = parallel.place_state(trained.params)
    results, terms = evaluate(
        programs,
        params,
        split_batches(trained.config, data, split, parallel),
        key=parallel.replicate(jax.random.key(trained.config.training.seed)),
        settings=EvaluationSettings(
            batch_size=options.batch_size,
            mi_batch_size=options.mi_batch_size,
            iw_samples=options.iw_samples,
            iw_batch_size=options.iw_batch_size,
            iw_sentences=options.iw_sentences,
            iw_chunk=iw_chunk,
            iw_tolerance=options.iw_tolerance,
            seed=trained.config.training.seed,
        ),
    )
    results |= {
        "split": split,
        "corpus": data.corpus.name,
        "best_epoch": trained.epoch,
        "train_seconds": sum(record["seconds"] for record in history),
        "evaluation_seconds": time.monotonic() - start,
    }
    results |= cost(trained.workdir)
    trained = dataclasses.replace(trained, params=parallel.own(params))
    if jax.process_index() != 0:
        return results
    sentences, rows = data.corpus.sentences[split], data.rows[split]
    shown = [sentences[row] for row in rows[: options.num_examples]]
    results["examples"] = report.example_sentences(trained, shown)
    title = f"{data.corpus.name} {split}, {results['sentences']:,} sentences, epoch {trained.epoch}"
    report.print_table(console, title, results)
    report.print_examples(console, results["examples"])
    other = "" if split == options.split else f"-{split}"
    report.save_results(trained.workdir, results, f"results{other}.json")
    labels = data.corpus.labels
    kept = [labels[split][row] for row in rows] if labels else None
    report.draw(trained.workdir / f"plots{other}", history, results, terms, kept)
    return results


def environment() -> dict[str, Any]:
    """Versions, devices and the commit: what a number depends on besides the configuration."""
    packages = ("jvae", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": {name: metadata.version(name) for name in packages},
        "devices": [str(device.device_kind) for device in jax.local_devices()],
        "commit": git_commit(),
    }


def git_commit() -> str | None:
    """The source's commit, with `+` if files were changed, or None outside a checkout."""
    source = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(source), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
