"""A text VAE in scikit-learn's manner: `fit`, `transform`, `inverse_transform`, pipelines.

    features = make_pipeline(TextVAE("runs/mine"), LogisticRegression())
    features.fit(sentences, labels)

It is imported from here only, and not with `jvae`, so that the library stays free of scikit-learn.
"""

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from jvae.api import configured, load_run
from jvae.data.given import given_sentences
from jvae.errors import UserError
from jvae.files import write_atomically
from jvae.runs.directory import RESULTS, fingerprint, make_workdir
from jvae.runs.run import run
from jvae.tasks import get_task
from jvae.tasks.text.run import TextRun


class TextVAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Sentences to posterior means, and latent vectors to sentences.

    Each training is an ordinary run directory, `workdir/<fingerprint>`, named after sentences and
    configuration: fitting the same again reads it, or goes on where it was stopped, and the folds
    of a cross-validation have a run each, also in several processes (`n_jobs`). A clone or a
    pipeline that is fitted trains again; `sklearn.frozen.FrozenEstimator(TextVAE.from_run(..))`
    keeps a run as it is.

    Attributes:
      workdir: folder of the runs.
      config: fields that differ from `jvae.experiments.text`, as `{"training.epochs": 3}`.
      run_dir_: the run directory, once fitted. A pickle holds no more than its place.
    """

    def __init__(self, workdir: str | Path, config: dict[str, Any] | None = None):
        self.workdir = workdir
        self.config = config

    @classmethod
    def from_run(cls, run_dir: str | Path) -> "TextVAE":
        """Makes a fitted one of a run directory that is already there.

        Raises:
          UserError: it is not a finished run.
        """
        run_dir = Path(run_dir)
        return cls(run_dir.parent)._use(run_dir)

    def fit(self, X: Sequence[str], y: Any = None) -> "TextVAE":
        """Trains on sentences as the experiments do; what is printed goes to `output.txt`.

        Args:
          X: N sentences; the run holds out a tenth of them to choose its best epoch and for test.
          y: ignored.

        Raises:
          UserError: X is no list of texts, one is blank, or the configuration is at fault.
          jvae.training.loop.Interrupted: on SIGINT or SIGTERM; the same call goes on.
        """
        sentences, config = _lines(X), configured(self.config or {}, "text")
        what = json.dumps([config.to_dict(), sentences], sort_keys=True)
        folder = Path(self.workdir) / fingerprint(what)
        if not (folder / RESULTS).exists():
            make_workdir(folder)
            with _alone(folder):
                if not (folder / RESULTS).exists():  # another process has trained it meanwhile
                    _train(config, sentences, folder)
        return self._use(folder)

    def transform(self, X: Sequence[str]) -> np.ndarray:
        """Returns posterior means, `[N, L]`.

        Raises:
          UserError: X is no list of texts, one is blank, or the run directory is gone.
        """
        run = self._fitted()
        return run.encode(_lines(X))

    def inverse_transform(self, X: np.ndarray) -> list[str]:
        """Decodes latent vectors `[N, L]` into sentences, greedily.

        Raises:
          UserError: they have another size, or the run's latents are sets.
        """
        return self._fitted().decode(X)

    def _use(self, run_dir: Path) -> "TextVAE":
        self._trained: TextRun = load_run(run_dir)
        self.run_dir_ = str(run_dir.absolute())
        return self

    @property
    def _n_features_out(self) -> int:
        return self._fitted().latent_size

    def __sklearn_tags__(self) -> Any:
        """Says that it reads texts, as scikit-learn's vectorisers do."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        return tags

    def _fitted(self) -> TextRun:
        check_is_fitted(self)
        if not hasattr(self, "_trained"):  # it was pickled
            if not Path(self.run_dir_).is_dir():
                raise UserError(
                    f"{self.run_dir_}, the run directory of this TextVAE, is gone: a pickle holds "
                    "its place only; put it back, or give its new place to TextVAE.from_run"
                )
            self._trained = load_run(self.run_dir_)
        return self._trained

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the run, whose functions cannot be pickled: its directory has it all."""
        return {name: value for name, value in super().__getstate__().items() if name != "_trained"}


def _train(config: ConfigDict, sentences: list[str], folder: Path) -> None:
    config.data.train = str(folder / "sentences.txt")
    write_atomically(Path(config.data.train), "\n".join(sentences) + "\n")
    with open(folder / "output.txt", "a", encoding="utf-8") as shown:
        run(get_task("text"), config, folder, Console(file=shown, width=120))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lets one process at a time train in a folder: those of a grid search may want the same."""
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _lines(sentences: Sequence[str]) -> list[str]:
    """Writes each sentence on one line, as a corpus' file has them.

    Raises:
      UserError: they are no list of texts, or one is blank.
    """
    lines = [" ".join(text.split("\n")) for text in given_sentences(sentences)]
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise UserError(f"sentence {number} is blank: every one must have a word")
    return lines
