"""The share of its vectors that a set needs: reconstruction by threshold, without training."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jvae.errors import UserError
from jvae.evaluation.text_metrics import bleu, exact_match
from jvae.runs.directory import TrainedRun
from jvae.runs.task import Data
from jvae.tasks.text import use
from jvae.tasks.text.quality import as_read, writes_unk
from jvae.tasks.text.use import Decoding
from jvae.types import Key

PRUNING = "pruning.json"  # of a run directory


def curve(
    run: TrainedRun,
    data: Data,
    thresholds: Sequence[float],
    how: Decoding,
    *,
    key: Key,
    encode: Callable[..., use.Encoding] = use.encode,
    decode: Callable[..., list[str]] = use.decode,
) -> list[dict[str, float]]:
    """Decodes the evaluated split again from its mixtures without vectors of small alpha.

    Args:
      run: trained, of NVIB.
      data: its corpus.
      thresholds: each in place of `model.nvib.prune`; 0 for none.
      how: words are chosen; `max_length` and `allow_unk` are as in `jvae.tasks.text.quality`.
      key: of draws, if `how` has any.
      encode: `(run, sentences, key=) -> encoding`.
      decode: `(run, latents, how, key=) -> sentences`.

    Returns:
      For each threshold "threshold"; "vectors", kept of a sentence; "share", all of them per token,
      `</s>` counted; "bleu"; "exact_match".

    Raises:
      UserError: the run has no pseudo-counts.
    """
    if run.config.model.posterior != "nvib":
        raise UserError(
            f"{run.workdir} has model.posterior = {run.config.model.posterior!r}: only vectors "
            "of 'nvib' have pseudo-counts to be pruned by"
        )
    split = run.config.evaluation.split
    originals, references = data.source.sentences(split), as_read(run, data, split)
    how = how._replace(max_length=data.buckets.widths[-1] - 1, allow_unk=writes_unk(run))
    points = []
    for threshold in thresholds:
        centre = encode(pruned_at(run, threshold), originals, key=key).centre
        kept = np.sum(centre.present, axis=1) - 1  # without the prior's own
        back = decode(run, centre, how, key=key)
        points.append(
            {
                "threshold": threshold,
                "vectors": float(kept.mean()),
                "share": float(kept.sum() / data.splits[split].symbols.sum()),
                "bleu": bleu(back, references)[0],
                "exact_match": exact_match(back, references),
            }
        )
    return points


def pruned_at(run: TrainedRun, threshold: float) -> TrainedRun:
    """Returns the run with an encoder of another `model.nvib.prune`, where 0 is none at all."""
    config = run.config.copy_and_resolve_references()
    config.model.nvib.prune = threshold or sys.float_info.min  # 0 would be the default
    encoder = run.task.build(config, run.resources, None).encoder
    return dataclasses.replace(run, config=config, model=run.model._replace(encoder=encoder))


def lines(points: Sequence[dict[str, Any]]) -> list[str]:
    """Writes the curve as a table."""
    head = f"{'threshold':>9}  {'vectors':>7}  {'share':>6}  {'BLEU':>5}  {'exact':>5}"
    return [head] + [
        f"{point['threshold']:9g}  {point['vectors']:7.2f}  {point['share']:6.1%}  "
        f"{point['bleu']:5.1f}  {point['exact_match']:5.1%}"
        for point in points
    ]
