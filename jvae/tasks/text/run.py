"""A trained text model in Python: sentences and NumPy arrays in and out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jvae.configs import check_name
from jvae.data.given import given_sentences
from jvae.errors import UserError
from jvae.random import Stream, stream
from jvae.runs.directory import RESULTS, TrainedRun, read_json
from jvae.tasks.text import use
from jvae.tasks.text.likelihood import log_likelihood
from jvae.tasks.text.use import Decoding, check_decoding


class Posterior(NamedTuple):
    """The diagonal moments of `q(z | x)`.

    Attributes:
      mean: `[N, L]`; of sets of vectors the mean of each sentence's vectors by weight.
      log_var: `[N, L]`; of sets `[N, 0]`.
    """

    mean: np.ndarray
    log_var: np.ndarray


@dataclass(frozen=True)
class TextRun:
    """A trained text model.

    Sentences are a list, or another sequence, of texts; anything else is refused. A seed names all
    randomness of a call: the same call gives the same result. `**decoding` are the fields of
    `jvae.tasks.text.use.Decoding` that differ from its defaults: `max_length`, `temperature`,
    `top_k`, `top_p`, `beam_size`, `allow_unk`. All methods raise a `UserError` where the model or
    an argument does not allow them.

    Attributes:
      trained: the run directory's contents: the model's pure functions, parameters, tokenizer.
    """

    trained: TrainedRun

    @property
    def workdir(self) -> Path:
        """The run directory."""
        return self.trained.workdir

    @property
    def config(self) -> ConfigDict:
        """The configuration that it was trained with."""
        return self.trained.config

    @property
    def results(self) -> dict[str, Any]:
        """The contents of `results.json`."""
        results: dict[str, Any] = read_json(self.workdir / RESULTS)
        return results

    def encode(self, sentences: Sequence[str], *, seed: int = 0) -> np.ndarray:
        """Returns the posterior means, `[N, L]`; only a refined posterior's depend on the seed."""
        return self.posterior(sentences, seed=seed).mean

    def posterior(self, sentences: Sequence[str], *, seed: int = 0) -> Posterior:
        """Returns posterior means and log variances."""
        encoding = use.encode(self.trained, given_sentences(sentences), key=_key(seed))
        return Posterior(encoding.mean, encoding.log_var)

    def decode(
        self, z: np.ndarray, *, seed: int = 0, strategy: str = "greedy", **decoding: Any
    ) -> list[str]:
        """Decodes latent vectors `[N, L]` into N sentences."""
        if self.encodes_sets:
            raise UserError(f"{self.workdir} decodes sets of vectors, not one for a sentence")
        z, size = np.asarray(z, np.float32), self.latent_size
        if z.ndim != 2 or z.shape[1] != size:
            raise UserError(f"latent vectors of shape {list(z.shape)}: this run has [N, {size}]")
        return use.decode(self.trained, z, _how(strategy, decoding), key=_key(seed))

    @property
    def encodes_sets(self) -> bool:
        """Tells whether the latent of a sentence is a set of vectors."""
        return use.encodes_sets(self.trained)

    @property
    def latent_size(self) -> int:
        """L, 0 of a language model."""
        model = self.config.model
        return 0 if model.mode == "lm" else int(model.latent_size)

    def sample(
        self, number: int = 10, *, seed: int = 0, strategy: str = "sample", **decoding: Any
    ) -> list[str]:
        """Draws `z ~ p(z)`, and decodes a sentence of each; more of them begin with the same."""
        if number < 1:
            raise UserError(f"number = {number} must be at least 1")
        how = _how(strategy, decoding)
        return use.sample_prior(self.trained, number, how, key=_key(seed))

    def reconstruct(
        self, sentences: Sequence[str], *, seed: int = 0, strategy: str = "greedy", **decoding: Any
    ) -> list[str]:
        """Decodes each sentence from the mean of its posterior."""
        how = _how(strategy, decoding)
        return use.reconstruct(self.trained, given_sentences(sentences), how, key=_key(seed))

    def interpolate(
        self,
        first: str,
        second: str,
        steps: int = 7,
        *,
        path: str = "linear",
        seed: int = 0,
        strategy: str = "greedy",
        **decoding: Any,
    ) -> list[str]:
        """Decodes `steps` points on a path between two sentences' posterior means, ends included.

        Args:
          first: a sentence.
          second: another.
          steps: sentences in all.
          path: "linear" or "spherical"; sets of vectors have one path of their own.
          seed: of sampling.
          strategy: "greedy", "sample" or "beam".
          **decoding: see the class.
        """
        how = _how(strategy, decoding)
        first, second = given_sentences([first, second])
        return use.interpolate(self.trained, first, second, steps, how, key=_key(seed), path=path)

    def arithmetic(
        self, a: str, b: str, c: str, *, seed: int = 0, strategy: str = "greedy", **decoding: Any
    ) -> str:
        """Decodes `mean(a) - mean(b) + mean(c)`."""
        how = _how(strategy, decoding)
        a, b, c = given_sentences([a, b, c])
        return use.arithmetic(self.trained, (a, b), c, how, key=_key(seed))

    def log_likelihood(
        self, sentences: Sequence[str], num_samples: int = 500, *, seed: int = 0
    ) -> np.ndarray:
        """Estimates `log p(x)` of each sentence from below, `[N]`, nats; exact without a latent.

        See `jvae.tasks.text.likelihood.log_likelihood`. With the run's `training.seed` the
        sentences of its evaluated split have the numbers of its `iw_nll_each`, but for their sign.
        """
        key = stream(_key(seed), Stream.EVALUATION)
        return log_likelihood(self.trained, given_sentences(sentences), num_samples, key=key)


def of_split(trained: TrainedRun, split: str) -> TrainedRun:
    """Returns the run as if it had been evaluated on `split`."""
    config = trained.config.copy_and_resolve_references()
    config.evaluation.split = split
    return replace(trained, config=config)


def _key(seed: int) -> jax.Array:
    return jax.random.key(seed)


def _how(strategy: str, options: dict[str, Any]) -> Decoding:
    for name in options:
        check_name("option of decoding", name, Decoding._fields)
    how = Decoding(strategy=strategy, **options)
    for name, least in (("max_length", 1), ("beam_size", 1), ("top_k", 0)):
        value = getattr(how, name)
        if value is not None and value < least:
            raise UserError(f"{name}={value} must be at least {least}")
    return check_decoding(how)
