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
from jvae.experiments.setup import fingerprint, load_run
from jvae.training.state import TrainState
from jvae.types import Params

NEEDED = ("encoder", "decoder")  # the rest, priors and heads, may differ from the other run's


def start_from(
    config: ConfigDict, state: TrainState, vocabulary: str, say: Callable[[str], None]
) -> TrainState:
    """A fresh state with the parameters of the best epoch of `config.training.start_from`.

    Args:
      config: of this run.
      state: before the first step; of its parameters those stay that the other run lacks, or
        has in other shapes.
      vocabulary: `fingerprint` of this run's tokenizer.
      say: prints a line.

    Raises:
      UserError: there is no such run, or its vocabulary, encoder or decoder is another.
    """
    folder = config.training.start_from
    other = load_run(Path(folder))
    if fingerprint(other.tokenizer.to_json()) != vocabulary:
        raise UserError(
            f"training.start_from = {folder!r}: its vocabulary is not that of this run; leave "
            "the other tokenizer out, as a run takes that of the run it starts from"
        )
    params, fresh = {}, []
    for part, own in state.params.items():
        differing = _difference(other.params.get(part), own)
        if differing is None:
            params[part] = other.params[part]
        elif part in NEEDED:
            raise UserError(
                f"training.start_from = {folder!r}: its {part} has {differing}; take the other "
                "run's model.* fields"
            )
        else:
            params[part] = own
            fresh.append(part)
    afresh = f"; {' and '.join(fresh)} afresh" if fresh else ""
    say(f"start  from the parameters of {folder}, epoch {other.epoch}{afresh}")
    return state._replace(params=params)


def _difference(theirs: Params | None, ours: Params) -> str | None:
    """The first array in which two trees of parameters differ, in words, or None."""

    def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree.leaves_with_path(tree or {})
        name = partial(jax.tree_util.keystr, simple=True, separator="/")
        return {name(path): leaf.shape for path, leaf in leaves}

    old, new = shapes(theirs), shapes(ours)
    for name in [*new, *old]:
        if old.get(name) != new.get(name):
            there = f"{name} of {old[name]}" if name in old else f"no {name}"
            return f"{there}, and this run's {new.get(name, 'none')}"
    return None
