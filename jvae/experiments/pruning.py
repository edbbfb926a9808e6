"""How many of its vectors a run needs: reconstruction against the share kept, without training."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from jvae.errors import UserError
from jvae.evaluation.text_metrics import bleu, exact_match
from jvae.experiments.building import make_model
from jvae.experiments.quality import as_read
from jvae.experiments.setup import Data, TrainedRun
from jvae.experiments.use import Decoding, decode, encode
from jvae.types import Key

PRUNING = "pruning.json"  # of a run directory


def curve(
    run: TrainedRun, data: Data, thresholds: Sequence[float], how: Decoding, *, key: Key
) -> list[dict[str, float]]:
    """Of the test split as it is decoded again from its mixtures without vectors of small alpha.

    Args:
      run: trained, of NVIB.
      data: its corpus.
      thresholds: each in place of `model.nvib_prune`; 0 for none.
      how: sentences are chosen; `max_length` and `allow_unk` are as in `jvae.experiments.quality`.
      key: of draws, if `how` has any.

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
    rows = data.rows[split]
    originals = [data.corpus.sentences[split][row] for row in rows]
    references = as_read(run, data.corpus, split, rows)
    words = run.tokenizer.kind == "words"
    how = how._replace(max_length=data.buckets.widths[-1] - 1, allow_unk=words)
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
    """The same run with an encoder of another `model.nvib_prune`, where 0 is none at all."""
    config = run.config.copy_and_resolve_references()
    config.model.nvib_prune = threshold or sys.float_info.min  # 0 would be the default
    encoder = make_model(config, run.tokenizer.vocab_size).encoder
    return dataclasses.replace(run, config=config, model=run.model._replace(encoder=encoder))


def lines(points: list[dict[str, Any]]) -> list[str]:
    """The curve as a table."""
    head = f"{'threshold':>9}  {'vectors':>7}  {'share':>6}  {'BLEU':>5}  {'exact':>5}"
    return [head] + [
        f"{point['threshold']:9g}  {point['vectors']:7.2f}  {point['share']:6.1%}  "
        f"{point['bleu']:5.1f}  {point['exact_match']:5.1%}"
        for point in points
    ]
