"""Everything that metrics are computed from, each computed once, when it is first asked for."""

import dataclasses
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from jvae.batch import Batch
from jvae.errors import UserError
from jvae.evaluation.corpus import PosteriorTerms, collect, encode, other_examples
from jvae.evaluation.diagnostics import MutualInformation, active_units, mi_corpus
from jvae.evaluation.functions import Functions, SplitBatches
from jvae.evaluation.metric import Nouns
from jvae.evaluation.offers import Offers
from jvae.evaluation.samples import block_size, draw_until
from jvae.evaluation.settings import EvaluationSettings
from jvae.model import VAE
from jvae.random import Stream, stream
from jvae.types import Array, Key, Params


def offers(model: VAE, params: Params, batch: Batch, key: Key) -> Offers:
    """Asks a model's distributions what they offer, without computing anything."""
    encoded: Any = jax.eval_shape(partial(encode, model), params, batch, key=key)
    return encoded.offers


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Results of a model on a split, from which metrics are computed.

    Attributes:
      functions: compiled, of the model.
      params: its parameters.
      split: the examples.
      key: the run's root key; examples draw by their number.
      settings: sizes.
      nouns: of the task, for messages.
      lean: leaves out samples of z that no estimator of MI needs, as after each epoch.
    """

    functions: Functions
    params: Params
    split: SplitBatches
    key: Key
    settings: EvaluationSettings
    nouns: Nouns
    lean: bool = False

    @property
    def num_examples(self) -> int:
        """N."""
        return len(self.split.split)

    @cached_property
    def symbols(self) -> np.ndarray:
        """`[N]`, predicted symbols of each example, by which perplexity divides."""
        return self.split.split.symbols

    @cached_property
    def noise(self) -> Key:
        """The key of all draws."""
        return stream(self.key, Stream.EVALUATION)

    @cached_property
    def terms(self) -> PosteriorTerms:
        """Posteriors, one sample of each, its reconstruction and KL."""
        return self.functions.posterior(
            self.params, self.split, self.num_examples, self.noise, lean=self.lean
        )

    @property
    def offers(self) -> Offers:
        """Capabilities of the model's distributions."""
        return self.terms.offers

    @property
    def latent_size(self) -> int:
        """L of one vector, P of a set's vectors; 0 of latents without moments."""
        return int(self.terms.mean.shape[1])

    @cached_property
    def kl(self) -> np.ndarray:
        """`[N]`, nats, in double precision."""
        return np.asarray(self.terms.kl).sum(axis=1, dtype=np.float64)

    @cached_property
    def elbo(self) -> np.ndarray:
        """`[N]`, nats: minus reconstruction and KL of weight 1."""
        return -(np.asarray(self.terms.rec) + self.kl)

    def prior_z(self, batch: Batch) -> Any:
        """Draws a z from the prior for each example of a batch."""
        return self.functions.draw(self.params, batch.index, batch.condition, key=self.noise)

    def all_prior_z(self) -> Any:
        """Draws a z from the prior for each example of the split."""
        return collect(self.prior_z, self.split, self.num_examples)

    @cached_property
    def prior_rec(self) -> np.ndarray:
        """`[N]`, nats: reconstruction with z from the prior."""
        # The draws of one batch at a time: a split's sets are large.
        return self._reconstruction(self.prior_z)

    @cached_property
    def shuffled_rec(self) -> np.ndarray:
        """`[N]`, nats: reconstruction with the z of another example."""
        partners = other_examples(self.num_examples, seed=self.settings.seed)

        def others(batch: Batch) -> Any:
            return jax.tree.map(lambda leaf: leaf[partners[batch.index]], self.terms.z)

        return self._reconstruction(others)

    def _reconstruction(self, latents: Any) -> np.ndarray:
        return self.functions.reconstruction(
            self.params, latents, self.split, self.num_examples, self.noise
        )

    @cached_property
    def weighed(self) -> SplitBatches:
        """The first examples of the split, those with importance weights."""
        few = self.split.split.first(self.settings.iw_examples or self.num_examples)
        return dataclasses.replace(self.split, split=few, batch_size=self.settings.iw_batch_size)

    @property
    def most_samples(self) -> int:
        """K at most; without a latent one sample is exact."""
        return self.settings.iw_samples if self.offers.latent else 1

    @cached_property
    def log_weights(self) -> np.ndarray:
        """`[K, first examples]`, nats: `log p(x, z_k) - log q(z_k | x)`, z_k from q."""
        number, tolerance = self.most_samples, self.settings.iw_tolerance
        block = block_size(number, tolerance)
        weigh = self.functions.importance(block, self.settings.iw_chunk)

        def draw(first: int) -> np.ndarray:
            def weights(batch: Batch) -> Array:
                placed = self.functions.place(batch)
                return weigh(self.params, placed, np.int32(first), key=self.noise)

            return collect(weights, self.weighed, len(self.weighed.split)).T

        return draw_until(draw, number, tolerance)

    @cached_property
    def active(self) -> tuple[int, np.ndarray]:
        """Active units, and each dimension's variance of the posterior mean, `[L]`."""
        return active_units(self.terms.mean)

    @cached_property
    def mi_corpus(self) -> MutualInformation:
        """Mutual information against the aggregate posterior of all examples."""
        return mi_corpus(self.terms.z, self.terms.mean, self.terms.log_var)

    def check_finite(self, name: str, values: ArrayLike) -> None:
        """Refuses numbers of which no mean can be taken.

        Raises:
          UserError: names the metric.
        """
        if not np.all(np.isfinite(values)):
            raise UserError(
                f"the {name} of the evaluated {self.nouns.row}s became non-finite: lower "
                "training.learning_rate or training.clip_norm and train anew, in another --workdir"
            )
