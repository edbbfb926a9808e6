"""What evaluation compiles, and the batches that its programs are given."""

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
    prior_samples,
    reconstruction,
)
from jvae.model import VAE
from jvae.types import Array, Key, Params


@dataclasses.dataclass(frozen=True)
class SplitBatches:
    """A split, cut into batches again and again in the same order."""

    split: Split
    widths: tuple[int, ...]
    batch_size: int
    num_devices: int = 1

    def __iter__(self) -> Iterator[Batch]:
        """The batches, as NumPy arrays."""
        plan = corpus_plan(
            self.split.widths, self.widths, self.batch_size, num_devices=self.num_devices
        )
        return batches(self.split, self.widths, plan)


class Programs(NamedTuple):
    """What evaluation compiles, once for every shape of a batch.

    Attributes:
      model: the VAE.
      encode: `(params, batch, *, key) -> Encoded`.
      decode: `(params, z [B, L], batch, *, key) -> [B]`, nats: the same program wherever z is from.
      draw: `(params, index [B], *, key) -> z [B, L]`, from the prior.
      importance: (samples, of them at once) -> `(params, batch, first_sample, *, key) -> [B, K]`,
        nats: see `importance_weights`; the same for the same numbers.
      place: puts a tree of `[B, ..]` NumPy arrays on the devices.
    """

    model: VAE
    encode: Callable[..., Encoded]
    decode: Callable[..., Array]
    draw: Callable[..., Any]
    importance: Callable[[int, int], Callable[..., Array]]
    place: Callable[[Any], Any]

    def posterior(
        self,
        params: Params,
        split: Iterable[Batch],
        num_sentences: int,
        key: Key,
        *,
        keep_z: bool = True,
    ) -> PosteriorTerms:
        """Reconstruction and KL of a split, from one sample of the posterior each.

        `keep_z` False leaves the samples out: a split's sets are large.
        """

        def terms(batch: Batch) -> PosteriorTerms:
            batch = self.place(batch)
            encoded = self.encode(params, batch, key=key)
            z = self.place(encoded.z)  # as any other z: else it would be another program
            rec = self.decode(params, z, batch, key=key)
            kept = encoded if keep_z else dataclasses.replace(encoded, z=None)
            return PosteriorTerms(**vars(kept), rec=rec)

        return collect(terms, split, num_sentences)

    def reconstruction(
        self,
        params: Params,
        latents: Callable[[Batch], Any],
        split: Iterable[Batch],
        num_sentences: int,
        key: Key,
    ) -> np.ndarray:
        """`-log p(x | z)` of a split by sentence, `[N]`, nats; `latents`: batch -> its z."""

        def terms(batch: Batch) -> Array:
            return self.decode(params, *self.place((latents(batch), batch)), key=key)

        return collect(terms, split, num_sentences)


def make_programs(
    model: VAE,
    compile: Callable[..., Any] = jax.jit,
    place: Callable[[Any], Any] = jax.device_put,
) -> Programs:
    """The programs of a model, by default for one device."""

    @lru_cache(maxsize=1)  # what was compiled last, for its memory, is what runs
    def importance(num_samples: int, chunk_size: int) -> Callable[..., Array]:
        weights = partial(log_weights, model, num_samples=num_samples, chunk_size=chunk_size)
        return compile(weights)

    return Programs(
        model=model,
        encode=compile(partial(encode, model)),
        decode=compile(partial(reconstruction, model)),
        draw=compile(partial(prior_samples, model)),
        importance=importance,
        place=place,
    )
