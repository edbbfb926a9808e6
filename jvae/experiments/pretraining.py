"""Two phases in one run: an autoencoder first, from whose encoder the run then starts.

The first phase is an ordinary run in a directory of its own, so that it logs, saves and resumes as
any other. Of it only the encoder of the best epoch is kept: the decoder and the optimisers start
afresh (Li et al., 2019, whose released scripts are `text_beta.py --beta 0`, then `text_anneal_fb.py
--reset_dec`).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jvae.data import Tokenizer
from jvae.evaluation.programs import make_programs
from jvae.experiments.building import make_control, make_model
from jvae.experiments.config import FREE_FIELDS, PRECISIONS, default_config
from jvae.experiments.job import make_job
from jvae.experiments.memory import fit_batches, forecast
from jvae.experiments.setup import (
    TOKENIZER,
    Data,
    fingerprint,
    initial_state,
    open_run,
    read_json,
    refuse_difference,
    save_config,
)
from jvae.training import checkpoint
from jvae.training.control import finished
from jvae.training.logs import MetricsLog, Progress, read_metrics, write_atomically
from jvae.training.loop import train
from jvae.training.parallel import Parallel
from jvae.training.profile import Profiler
from jvae.training.state import TrainState
from jvae.types import Params

FOLDER, RECORD = "pretraining", "pretraining.json"


def pretraining_config(config: ConfigDict) -> ConfigDict:
    """The first phase of `config`: KL weight 0, z drawn as ever, no other objective.

    Runs that differ in their second phase only have the same first one.
    """
    first = config.copy_and_resolve_references()
    first.objective.update(default_config().objective)
    first.objective.update({"kl_schedule": "constant", "kl_end": 0.0})
    if first.model.prior != "uniform_sphere":
        first.model.prior = "standard_normal"  # without a KL no prior learns
    first.model.refine_steps = 0  # its steps raise the ELBO, KL and all
    # Another seed, so that no key is used twice in one run.
    seed = np.random.SeedSequence(config.training.seed, spawn_key=(1,)).generate_state(1)[0]
    first.training.update(
        {
            "seed": int(seed) >> 1,  # of 31 bits
            "epochs": config.training.pretrain_epochs,
            "pretrain_epochs": 0,
            "start_from": "",
            "aggressive": False,
            "profile": 0,
        }
    )
    return first


def pretraining_key(config: ConfigDict) -> str:
    """The same for configurations with the same first phase, whatever follows it."""
    fields = {
        f"{group}.{name}": value
        for group, values in pretraining_config(config).to_dict().items()
        for name, value in values.items()
    }
    free = set(FREE_FIELDS) - {"training.epochs"}
    kept = {name: value for name, value in fields.items() if name not in free}
    return fingerprint(json.dumps(kept, sort_keys=True))


def pretrain(
    config: ConfigDict,
    folder: Path,
    own: Path,
    tokenizer: Tokenizer,
    data: Data,
    meta: dict[str, Any],
    parallel: Parallel,
    say: Callable[[str], None],
) -> tuple[Params, dict[str, Any]]:
    """Trains the autoencoder, goes on with it, or reads it if it is there.

    Args:
      config: of the whole run.
      folder: of the first phase; other runs may share it.
      own: where this process writes what is not a checkpoint; `folder` for the first process.
      tokenizer: of the training split.
      data: the corpus.
      meta: of the whole run's checkpoints.
      parallel: the devices.
      say: prints a line.

    Returns:
      The encoder's parameters of the epoch with the best validation reconstruction, placed on the
      devices, and where they are from: "folder", "best_epoch", "seconds" of training.

    Raises:
      UserError: `folder` holds another run, or training fails.
      jvae.training.loop.Interrupted: on SIGINT or SIGTERM, after a checkpoint.
    """
    config = pretraining_config(config)

    def tell(line: str) -> None:
        say(f"pretraining  {line}")

    checkpoints, stored = open_run(config, folder)
    try:
        for field in ("corpus", "vocabulary"):
            if stored is not None and stored[field] != meta[field]:
                refuse_difference(folder, f"its {field} is not that of this run")
        own.mkdir(parents=True, exist_ok=True)
        write_atomically(own / TOKENIZER, tokenizer.to_json())
        save_config(own, config)
        model = make_model(config, tokenizer.vocab_size)
        state = parallel.place_state(initial_state(config, model, tokenizer.vocab_size))
        tell(f"an autoencoder for at most {config.training.epochs} epochs, in {folder}")
        if stored is not None:
            state = parallel.place_state(checkpoint.restore(checkpoints, state))
            tell(f"resumed at step {int(state.step)}, {int(state.epoch)} epochs finished")
        if not finished(state, make_control(config)):
            programs = make_programs(model, parallel.compile_evaluation, parallel.shard)
            trained_model = make_model(
                config, tokenizer.vocab_size, PRECISIONS[config.training.precision]
            )
            fitted, needs = fit_batches(config, programs, state.params, data, parallel)
            job, memory, _ = make_job(
                fitted,
                trained_model,
                programs,
                data,
                parallel,
                state,
                meta | {"config": config.to_dict()},
            )
            forecast({"a training step": memory, **needs}, parallel, tell, saved=state)
            log = MetricsLog(own, int(state.epoch))
            progress = Progress(tell, config.training.log_seconds, config.training.epochs)
            try:
                state = train(job, state, checkpoints, log, progress, Profiler(own, 0), tell)
            finally:
                log.close()
        state = checkpoint.shapes(state)  # lets go of the arrays: the best take their place
        best = checkpoint.restore(checkpoints, state, best=True)
    finally:
        checkpoints.close()
    epoch = int(best.best_epoch)
    tell(f"over: the encoder of epoch {epoch} is kept, the decoder starts afresh")
    seconds = sum(line["seconds"] for line in read_metrics(own))
    record = {"folder": str(folder), "best_epoch": epoch, "seconds": seconds}
    return best.params["encoder"], record


def cost(workdir: Path) -> dict[str, float]:
    """What a run's results say of its first phase, if it had one: "pretrain_seconds"."""
    path = workdir / RECORD
    return {"pretrain_seconds": read_json(path)["seconds"]} if path.exists() else {}


def with_encoder(state: TrainState, encoder: Params) -> TrainState:
    """A fresh state with another encoder; optimisers start from zeros, whatever the parameters."""
    return state._replace(params=state.params | {"encoder": encoder})
