"""Compiled functions of evaluation, and the batches that they are given."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jvae.batch import Batch
from jvae.data.batching import batches, corpus_plan
from jvae.data.split import Split
from jvae.evaluation.corpus import (
    Encoded,
    PosteriorTerms,
    collect,
    encode,
    log_weights,
    observe,
    prior_samples,
    reconstruction,
)
from jvae.model import VAE
from jvae.types import Array, Key, Params


@dataclasses.dataclass(frozen=True)
class SplitBatches:
    """A split that is cut into batches again and again, in the same order.

    Attributes:
      split: the examples.
      widths: of the buckets.
      batch_size: examples of a batch, at most.
      num_devices: among which the rows of each batch divide.
    """

    split: Split
    widths: tuple[int, ...]
    batch_size: int
    num_devices: int = 1

    def __iter__(self) -> Iterator[Batch]:
        """Yields the batches, as NumPy arrays."""
        plan = corpus_plan(
            self.split.widths, self.widths, self.batch_size, num_devices=self.num_devices
        )
        return batches(self.split, self.widths, plan)


class Functions(NamedTuple):
    """Compiled functions of a model, each compiled once for every shape of a batch.

    Attributes:
      model: the VAE.
      encode: `(params, batch, *, key) -> Encoded`.
      decode: `(params, z, batch, *, key) -> [B]`, nats: one function, wherever z is from.
      draw: `(params, index [B], condition, *, key) -> z`, from the prior.
      importance: (samples, of them at once) -> `(params, batch, first_sample, *, key) -> [B, K]`,
        nats: see `importance_weights`; the same function for the same numbers.
      observe: `(params, batch, *, key) -> statistics`, of `Prior.fit`.
      place: puts a tree of `[B, ..]` NumPy arrays on the devices.
    """

    model: VAE
    encode: Callable[..., Encoded]
    decode: Callable[..., Array]
    draw: Callable[..., Any]
    importance: Callable[[int, int], Callable[..., Array]]
    observe: Callable[..., Any]
    place: Callable[[Any], Any]

    def posterior(
        self,
        params: Params,
        split: Iterable[Batch],
        num_examples: int,
        key: Key,
        *,
        lean: bool = False,
    ) -> PosteriorTerms:
        """Computes reconstruction and KL of a split, from one sample of each posterior.

        Args:
          params: of the model.
          split: batches.
          num_examples: N.
          key: of all draws.
          lean: leaves out samples that are not of diagonal Gaussians: only the estimators of MI
            look at them, and a split's sets are large.
        """

        def terms(batch: Batch) -> PosteriorTerms:
            batch = self.place(batch)
            encoded = self.encode(params, batch, key=key)
            z = self.place(encoded.z)  # as any other z: else it would be another function
            rec = self.decode(params, z, batch, key=key)
            if lean and not encoded.offers.diagonal:
                encoded = dataclasses.replace(encoded, z=None)
            return PosteriorTerms(**vars(encoded), rec=rec)

        return collect(terms, split, num_examples)

    def reconstruction(
        self,
        params: Params,
        latents: Callable[[Batch], Any],
        split: Iterable[Batch],
        num_examples: int,
        key: Key,
    ) -> np.ndarray:
        """Computes `-log p(x | z)` of each example of a split, `[N]`, nats.

        `latents` maps a batch to its z.
        """

        def terms(batch: Batch) -> Array:
            return self.decode(params, *self.place((latents(batch), batch)), key=key)

        return collect(terms, split, num_examples)


def make_functions(
    model: VAE,
    compile: Callable[..., Any] = jax.jit,
    place: Callable[[Any], Any] = jax.device_put,
) -> Functions:
    """Makes the functions of a model, by default for one device.

    Args:
      model: the VAE.
      compile: compiles a function of arrays.
      place: puts a tree of `[B, ..]` NumPy arrays on the devices.
    """

    @lru_cache(maxsize=1)  # what was compiled last, for its memory, is what runs
    def importance(num_samples: int, chunk_size: int) -> Callable[..., Array]:
        weights = partial(log_weights, model, num_samples=num_samples, chunk_size=chunk_size)
        return compile(weights)

    return Functions(
        model=model,
        encode=compile(partial(encode, model)),
        decode=compile(partial(reconstruction, model)),
        draw=compile(partial(prior_samples, model)),
        importance=importance,
        observe=compile(partial(observe, model)),
        place=place,
    )
