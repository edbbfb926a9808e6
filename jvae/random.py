"""Named streams of randomness, and one key per sentence.

Every key is `fold_in(fold_in(root, stream), step)`, and a sentence's noise comes from
`fold_in(key, index)`. A new consumer of randomness is a new name and disturbs no other; a
sentence's noise depends neither on its batch nor on the number of devices; and the step counter
is the only random state, so that a resumed run is exact.
"""

import enum

import jax

from jvae.types import Array, Key


class Stream(enum.IntEnum):
    """Who draws. Numbers are part of every run's reproducibility: append, never renumber."""

    PARAMS = 0
    TRAINING = 1
    INNER_LOOP = 2
    INNER_BATCH = 3
    LATENT = 4
    ENCODER = 5
    DECODER = 6
    EMBEDDING_DROPOUT = 7
    OUTPUT_DROPOUT = 8
    WORD_DROPOUT = 9
    EVALUATION = 10
    SHUFFLED = 11
    PRIOR = 12
    GENERATION = 13
    DENOISING = 14
    AGGREGATE = 15
    VARIANCE_DROPOUT = 16
    REFINEMENT = 18
    NVIB_LAYER = 19
    ADVERSARY = 20
    # 21 was used by runs of the past.
    CONDITIONER = 22
    ESTIMATOR = 23
    OBJECTIVE = 24


def stream(key: Key, name: Stream, step: Array | int = 0) -> Key:
    """Derives the key of one consumer at one step."""
    return jax.random.fold_in(jax.random.fold_in(key, int(name)), step)


def example_keys(key: Key, index: Array) -> Key:
    """Derives one key per example: `index` `[B]` int -> keys `[B]`."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)


def sample_keys(keys: Key, sample: Array) -> Key:
    """Derives the keys of samples: keys `[B]`, `sample` `[S]` int -> keys `[S, B]`."""
    fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
    return jax.vmap(fold, in_axes=(None, 0))(keys, sample)
