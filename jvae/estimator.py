"""A text VAE in scikit-learn's manner: `fit`, `transform`, `inverse_transform`, pipelines.

    features = make_pipeline(TextVAE("runs/mine"), LogisticRegression())
    features.fit(sentences, labels)

It is imported from here only, and not with `jvae`, so that the library stays free of scikit-learn.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from jvae.errors import UserError
from jvae.experiments import text, use
from jvae.experiments.command import flag_error
from jvae.experiments.runner import run
from jvae.experiments.setup import RESULTS, TrainedRun, fingerprint, load_run, make_workdir
from jvae.posteriors import OF_TOKENS
from jvae.training.logs import write_atomically


class TextVAE(TransformerMixin, BaseEstimator):
    """Sentences to posterior means, and latent vectors to sentences.

    Each training is an ordinary run directory, `workdir/<fingerprint>`, named after sentences and
    configuration: fitting the same again reads it, or goes on where it was stopped, and the folds
    of a cross-validation have a run each. A clone or a pipeline that is fitted trains again;
    `sklearn.frozen.FrozenEstimator(TextVAE.from_run(..))` keeps a run as it is.

    Attributes:
      workdir: folder of the runs.
      config: fields that differ from `jvae.experiments.text`, as `{"training.epochs": 3}`.
      run_dir_: the run directory, once fitted.
    """

    def __init__(self, workdir: str | Path, config: dict[str, Any] | None = None):
        self.workdir = workdir
        self.config = config

    @classmethod
    def from_run(cls, run_dir: str | Path) -> "TextVAE":
        """A fitted one, of a run directory that is already there.

        Raises:
          UserError: it is not a finished run.
        """
        run_dir = Path(run_dir)
        return cls(run_dir.parent)._use(run_dir)

    def fit(self, X: Sequence[str], y: Any = None) -> "TextVAE":
        """Trains on sentences by the runner of the experiments; what it says goes to `output.txt`.

        Args:
          X: N sentences; the run holds out a tenth of them to choose its best epoch and for test.
          y: ignored.

        Raises:
          UserError: a sentence is blank, or the configuration is at fault.
          jvae.training.loop.Interrupted: on SIGINT or SIGTERM; the same call goes on.
        """
        sentences = _lines(X)
        config = text.get_config()
        try:
            config.update_from_flattened_dict(self.config or {})
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(flag_error(error)) from None
        what = json.dumps([config.to_dict(), sentences], sort_keys=True)
        folder = Path(self.workdir) / fingerprint(what)
        if not (folder / RESULTS).exists():
            make_workdir(folder)
            config.data.train = str(folder / "sentences.txt")
            write_atomically(Path(config.data.train), "\n".join(sentences) + "\n")
            with open(folder / "output.txt", "a", encoding="utf-8") as shown:
                run(config, folder, Console(file=shown, width=120))
        return self._use(folder)

    def transform(self, X: Sequence[str]) -> np.ndarray:
        """Posterior means, `[N, L]`.

        Raises:
          UserError: a sentence is blank.
        """
        trained = self._fitted()
        # The mean needs no noise, but for a refined posterior's: one key for all.
        return np.asarray(use.encode(trained, _lines(X), key=jax.random.key(0)).mean)

    def inverse_transform(self, X: np.ndarray) -> list[str]:
        """The greedily decoded sentences of latent vectors `[N, L]`.

        Raises:
          UserError: they have another size, or the run's latents are sets.
        """
        trained, z = self._fitted(), np.asarray(X, np.float32)
        if trained.config.model.posterior in OF_TOKENS:
            raise UserError(f"{trained.workdir} decodes sets of vectors, not one for a sentence")
        size = trained.config.model.latent_size
        if z.ndim != 2 or z.shape[1] != size:
            raise UserError(f"latent vectors of shape {list(z.shape)}: this run has [N, {size}]")
        return use.decode(trained, z, use.Decoding(), key=jax.random.key(0))

    def _use(self, run_dir: Path) -> "TextVAE":
        self._trained = load_run(run_dir)
        self.run_dir_ = str(run_dir)
        return self

    def _fitted(self) -> TrainedRun:
        check_is_fitted(self)
        if not hasattr(self, "_trained"):  # it was pickled
            self._trained = load_run(Path(self.run_dir_))
        return self._trained

    def __getstate__(self) -> dict[str, Any]:
        """A run's functions cannot be pickled; its directory says it all."""
        return {name: value for name, value in super().__getstate__().items() if name != "_trained"}


def _lines(sentences: Sequence[str]) -> list[str]:
    """As a corpus' file holds them: each on one line.

    Raises:
      UserError: one is blank.
    """
    lines = [" ".join(str(sentence).split("\n")) for sentence in sentences]
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise UserError(f"sentence {number} is blank: every one must have a word")
    return lines
