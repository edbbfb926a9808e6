"""A run that starts from another's parameters: fine-tuning with another objective, prior or text.

The other run only has to be finished, or stopped after an epoch. Its vocabulary is taken over, as
its embeddings mean nothing with another; optimisers, schedules and the step's number start afresh.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jvae.errors import UserError
from jvae.experiments.counts import has_counts
from jvae.experiments.setup import TrainedRun, fingerprint, load_run
from jvae.training.state import TrainState
from jvae.types import Params

# Of `model`, what gives parameters their meaning without showing in their shapes.
SAME = (
    "encoder",
    "decoder",
    "posterior",
    "heads",
    "norm",
    "positions",
    "pooling",
    "cnn_size",
    "attention",
    "skip",
)


def load_start(config: ConfigDict, vocabulary: str) -> TrainedRun:
    """The run that `config.training.start_from` names.

    Args:
      config: of the run that starts from it.
      vocabulary: `fingerprint` of that run's tokenizer.

    Raises:
      UserError: there is no such run, or its vocabulary or network is another.
    """
    folder = config.training.start_from
    try:
        other = load_run(Path(folder))
    except UserError as error:
        raise UserError(f"training.start_from = {folder!r}: {error}") from None
    if fingerprint(other.tokenizer.to_json()) != vocabulary:
        raise UserError(
            f"training.start_from = {folder!r}: its vocabulary is not that of this run; leave "
            "the other tokenizer out, as a run takes that of the run it starts from"
        )
    for name in SAME:
        theirs, ours = other.config.model[name], config.model[name]
        if theirs != ours:
            raise UserError(
                f"training.start_from = {folder!r}: its model.{name} is {theirs!r}, and this "
                f"run's {ours!r}; take its own"
            )
    return other


def start_from(
    config: ConfigDict, state: TrainState, other: TrainedRun, say: Callable[[str], None]
) -> TrainState:
    """A fresh state with the parameters of another run's best epoch.

    The prior and the bag-of-words head, which are no part of the network, start afresh where the
    other run's have other shapes.

    Args:
      config: of this run.
      state: before the first step.
      other: from `load_start`.
      say: prints a line.

    Raises:
      UserError: an array of encoder or decoder has another shape.
    """
    parts = {name: (state.params[name], other.params.get(name)) for name in state.params}
    taken, afresh = {}, []
    for part, (ours, theirs) in parts.items():
        differing = _difference(theirs, ours)
        if part in ("encoder", "decoder") and differing is not None:
            raise UserError(
                f"training.start_from = {config.training.start_from!r}: its {part} has "
                f"{differing}; take the other run's model.* fields"
            )
        # p(n) of a prior of sets is counted in this run's own sentences.
        keep = differing is not None or (part == "prior" and has_counts(config))
        taken[part] = ours if keep else theirs
        if keep and jax.tree.leaves(ours):
            afresh.append(part)
    added = f"; {' and '.join(afresh)} afresh" if afresh else ""
    say(f"start  from the parameters of {other.workdir}, epoch {other.epoch}{added}")
    return state._replace(params=taken)


def _difference(theirs: Params, ours: Params) -> str | None:
    """The first array in which two trees of parameters differ, in words, or None."""

    def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
        name = partial(jax.tree_util.keystr, simple=True, separator="/")
        return {name(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}

    old, new = shapes(theirs), shapes(ours)
    for name in [*new, *old]:
        if old.get(name) != new.get(name):
            there = f"{name} of {old[name]}" if name in old else f"no {name}"
            return f"{there}, and this run's {new.get(name, 'none')}"
    return None
