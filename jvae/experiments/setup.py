"""From a configuration to everything a run is made of; shared by training and by `jvae`."""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from jvae.batch import Batch, text_batch
from jvae.data import (
    Corpus,
    Split,
    Tokenizer,
    build_tokenizer,
    encode_split,
    load_corpus,
)
from jvae.data.batching import Buckets, choose_buckets
from jvae.errors import UserError
from jvae.experiments.building import make_model, make_optimisers
from jvae.experiments.checks import check
from jvae.experiments.checks_sets import check_longest
from jvae.experiments.config import PLACE_FIELDS, default_config, difference, with_defaults
from jvae.experiments.counts import COUNTS, first_counts, fitted_prior, has_counts
from jvae.experiments.objective import make_objective
from jvae.model import VAE
from jvae.objectives import init
from jvae.training import checkpoint
from jvae.training.logs import write_atomically
from jvae.training.state import TrainState, create_state
from jvae.types import Array, Params

CONFIG, TOKENIZER, RESULTS = "config.json", "tokenizer.json", "results.json"


@dataclass(frozen=True)
class Data:
    """A corpus as numbers.

    Attributes:
      corpus: its sentences.
      splits: "train", "valid", "test" -> padded tokens.
      rows: split -> which of the corpus' sentences were kept.
      buckets: chosen from the lengths of all splits.
      notes: what was filtered, truncated, dropped, mapped to <unk>; one line each.
    """

    corpus: Corpus
    splits: dict[str, Split]
    rows: dict[str, np.ndarray]
    buckets: Buckets
    notes: tuple[str, ...]
    vocab_size: int


def load_data_corpus(config: ConfigDict) -> Corpus:
    """The corpus that `config.data` names."""
    data = config.data
    options: dict[str, dict[str, Any]] = {
        "ptb": {"data_dir": data.dir or None},
        "synthetic": {"seed": data.seed},
        "text": {
            "train": data.train,
            "valid": data.valid or None,
            "test": data.test or None,
            "seed": data.seed,
            "label": data.label,
            "column": data.column or None,
            "label_column": data.label_column or None,
        },
    }
    if data.name == "text" and not data.train:
        raise UserError("no file of sentences: give --train=FILE (or --config.data.train=FILE)")
    return load_corpus(data.name, **options.get(data.name, {}))


def make_tokenizer(config: ConfigDict, corpus: Corpus) -> Tokenizer:
    """A tokenizer of the training split, or that of the run whose parameters this one takes."""
    data = config.data
    if folder := config.training.start_from:
        try:
            tokenizer = load_tokenizer(Path(folder))
        except UserError as error:
            raise UserError(f"training.start_from = {folder!r}: {error}") from None
        if tokenizer.kind != data.tokenizer:
            raise UserError(
                f"training.start_from = {folder!r}: its data.tokenizer is {tokenizer.kind!r}, not "
                f"{data.tokenizer!r}; take its own, as its vocabulary is taken"
            )
        return tokenizer
    return build_tokenizer(
        data.tokenizer,
        corpus.sentences["train"],
        min_count=data.min_count,
        max_size=data.max_size or None,
    )


def load_tokenizer(workdir: Path) -> Tokenizer:
    """A run directory's.

    Raises:
      UserError: it is missing or damaged.
    """
    if not (workdir / TOKENIZER).exists():
        raise UserError(f"{workdir / TOKENIZER} is missing: train again")
    return Tokenizer.load(workdir / TOKENIZER)


def encode_corpus(
    config: ConfigDict, corpus: Corpus, tokenizer: Tokenizer, folder: Path | None = None
) -> Data:
    """Tokens of all splits, and the buckets they fall into.

    Args:
      config: its `data`.
      corpus: sentences.
      tokenizer: of its training split.
      folder: on whose disk `data.stream` keeps the training split's tokens; by default that of
        the system's temporary files.

    Raises:
      UserError: a sentence is longer than the model can count.
    """
    data = config.data
    splits, rows, notes = {}, {}, list(corpus.notes)
    kept = (folder or Path(tempfile.gettempdir())) if data.stream else None
    for name, sentences in corpus.sentences.items():
        splits[name], report, rows[name] = encode_split(
            tokenizer,
            sentences,
            max_length=data.max_length or None,
            too_long=data.too_long,
            split=name,
            folder=kept if name == "train" else None,
        )
        notes.append(f"{name}: {report}")
    buckets = choose_buckets(splits["train"].widths, data.max_buckets)
    longest = max(int(split.widths.max()) for split in splits.values())
    if longest > buckets.widths[-1]:  # a longer sentence outside the training split
        buckets = buckets._replace(widths=(*buckets.widths, longest))
    check_longest(config, longest)
    notes.append(f"{buckets}")
    return Data(corpus, splits, rows, buckets, tuple(notes), tokenizer.vocab_size)


def example_batch() -> Batch:
    """The smallest batch, for the shapes of parameters."""
    return text_batch(jnp.zeros((1, 2), jnp.int32), jnp.ones(1, jnp.int32))


def initial_state(
    config: ConfigDict, model: VAE, vocab_size: int, lengths: np.ndarray | None = None
) -> TrainState:
    """The state before the first step, from the run's seed.

    Args:
      config: all of it.
      model: what it describes.
      vocab_size: V.
      lengths: `[N]`, predicted tokens of the training sentences: where the prior counts a set's
        vectors it starts with theirs, for of many numbers it would learn slowly.
    """
    objective = make_objective(config, model, vocab_size)
    optimisers = make_optimisers(config, objective)

    def create(seed: Array) -> TrainState:
        key = jax.random.key(seed)
        params = init(model, example_batch(), key=key)
        groups = objective.init(key, params)
        return create_state(params, groups, optimisers, aggressive=config.training.aggressive)

    state: TrainState = jax.jit(create)(config.training.seed)  # one program, not one for each array
    if lengths is not None and has_counts(config):
        numbers = first_counts(config, lengths)
        state = state._replace(params=fitted_prior(model, state.params, numbers))
    return state


def make_workdir(workdir: Path) -> None:
    """Makes the run directory and sees that it can be written.

    Raises:
      UserError: it cannot.
    """
    probe = workdir / ".writable"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write to the run directory {workdir}: {error.strerror}; "
            "choose another with --workdir=DIR"
        ) from error


def refuse_difference(workdir: Path, what: str | None) -> None:
    """Stops a resume that would mix two runs."""
    if what is not None:
        raise UserError(
            f"{workdir} holds another run: {what}; choose another --workdir, or go back to the "
            "old value to continue"
        )


def open_run(
    config: ConfigDict, workdir: Path
) -> tuple[ocp.CheckpointManager, dict[str, Any] | None]:
    """The checkpoints of a run directory, made if there is none, and the latest one's `meta`.

    Raises:
      UserError: it cannot be written, or holds a run of another configuration.
    """
    if jax.process_index() == 0:
        make_workdir(workdir)
    checkpoints = checkpoint.open_checkpoints(workdir)
    stored = checkpoint.load_meta(checkpoints)
    if stored is not None:
        old = with_defaults(stored["config"])
        refuse_difference(workdir, difference(old, config.to_dict()))
    return checkpoints, stored


def fingerprint(text: str) -> str:
    """sha256 in hexadecimal, the first 16 digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def save_config(workdir: Path, config: ConfigDict) -> None:
    """Writes the resolved configuration."""
    write_atomically(workdir / CONFIG, json.dumps(config.to_dict(), indent=2) + "\n")


def read_json(path: Path) -> Any:
    """A JSON file of a run directory.

    Raises:
      UserError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: is {path.parent} a run directory?") from None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} is damaged: {error}; restore it or train again") from error


def is_finished(workdir: Path, config: ConfigDict) -> bool:
    """Whether a run directory holds the results of just this configuration."""
    try:
        stored = with_defaults(json.loads((workdir / CONFIG).read_text(encoding="utf-8")))
        asked = json.loads(json.dumps(config.to_dict()))
        for group, name in (field.split(".") for field in PLACE_FIELDS):
            asked[group][name] = stored[group][name]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return (workdir / RESULTS).exists() and stored == asked


def read_config(path: Path) -> ConfigDict:
    """The configuration in a run directory's file, with defaults for fields that came later.

    Raises:
      UserError: it is missing or damaged.
    """
    config, stored = default_config(), read_json(path)
    try:
        config.update(stored)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged: {checkpoint.first_line(error)}; restore it, or train again in "
            "another --workdir"
        ) from error
    return config


def load_config(workdir: Path) -> ConfigDict:
    """The configuration of a run directory.

    Raises:
      UserError: it is missing, damaged, or no sound one.
    """
    path = workdir / CONFIG
    config = read_config(path)
    try:
        check(config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return config


@dataclass(frozen=True)
class TrainedRun:
    """A run directory, ready for use.

    Attributes:
      workdir: where it lies.
      config: as it was trained.
      tokenizer: as it was trained.
      model: pure functions.
      params: of the best epoch, by validation ELBO; p(n) of a prior of sets as counted after it.
      epoch: which that was.
    """

    workdir: Path
    config: ConfigDict
    tokenizer: Tokenizer
    model: VAE
    params: Params
    epoch: int


def load_run(workdir: Path) -> TrainedRun:
    """Reads a run directory.

    Raises:
      UserError: something is missing or damaged; says which file.
    """
    if not workdir.is_dir():
        raise UserError(f"{workdir} is not a run directory: train first, with --workdir={workdir}")
    config = load_config(workdir)
    tokenizer = load_tokenizer(workdir)
    model = make_model(config, tokenizer.vocab_size)
    if not (workdir / checkpoint.FOLDER).is_dir():
        raise UserError(f"{workdir} holds no checkpoint yet: let the training finish an epoch")
    manager = checkpoint.open_checkpoints(workdir, read_only=True)
    if manager.latest_step() is None:
        raise UserError(f"{workdir} holds no checkpoint yet: let the training finish an epoch")
    like = jax.eval_shape(lambda: initial_state(config, model, tokenizer.vocab_size))
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), like
    )
    state = checkpoint.restore(manager, like, best=True)
    if int(state.best_epoch) == 0:  # stopped in its first epoch
        raise UserError(f"{workdir} has not finished an epoch: the same command continues it")
    params, epoch = state.params, int(state.best_epoch)
    if has_counts(config) and (workdir / COUNTS).exists():
        counted = read_json(workdir / COUNTS)
        if counted["epoch"] == epoch:  # else the run has gone on, and not yet ended
            params = fitted_prior(model, params, np.array(counted["sentences"]))
    return TrainedRun(workdir, config, tokenizer, model, params, epoch)
