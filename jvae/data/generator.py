"""The generative process behind the synthetic corpus, with its true densities, in NumPy.

He et al. 2019, "Lagging Inference Networks and Posterior Collapse in Variational Autoencoders",
section 4.2 (arXiv:1901.05534): z is two-dimensional, from an equal mixture of four Gaussians of
unit variance at (+-2, +-2); an LSTM whose parameters are all U(-1, 1) starts from an affine map
of z and draws ten words of a vocabulary of 1,000. Float64 throughout; equal seeds give equal
corpora on one machine (another linear algebra library may flip a rare draw).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

HIDDEN, EMBEDDING, VOCABULARY, LENGTH = 100, 100, 1000, 10
CENTRES = np.array([[2.0, 2.0], [-2.0, 2.0], [-2.0, -2.0], [2.0, -2.0]])
WORDS = tuple(f"w{index}" for index in range(VOCABULARY))
_STREAMS = {"parameters": 0, "train": 1, "valid": 2, "test": 3}
_CHUNK = 1000  # sentences at a time: `[1000, 1000]` probabilities stay in the cache


class Parameters(NamedTuple):
    """The LSTM's parameters, all U(-1, 1). V words, E embedding, H hidden; gates i, f, g, o.

    Attributes:
      initial: `[3, H]`, the affine map of (z, 1) to the first cell; its tanh is the first output.
      embedding: `[V + 1, E]`; the last row is the start symbol.
      recurrent: `[E + H + 1, 4H]`.
      output: `[H + 1, V]`.
    """

    initial: np.ndarray
    embedding: np.ndarray
    recurrent: np.ndarray
    output: np.ndarray


def parameters(seed: int) -> Parameters:
    """Draws the generator that belongs to a seed."""
    rng = _rng(seed, "parameters")
    return Parameters(
        initial=rng.uniform(-1, 1, (3, HIDDEN)),
        embedding=rng.uniform(-1, 1, (VOCABULARY + 1, EMBEDDING)),
        recurrent=rng.uniform(-1, 1, (EMBEDDING + HIDDEN + 1, 4 * HIDDEN)),
        output=rng.uniform(-1, 1, (HIDDEN + 1, VOCABULARY)),
    )


def draw(params: Parameters, seed: int, split: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Latents `[N, 2]` and word numbers `[N, 10]`; splits are independent of each other's sizes."""
    rng = _rng(seed, split)
    latents = CENTRES[rng.integers(len(CENTRES), size=size)] + rng.standard_normal((size, 2))
    thresholds = rng.random((size, LENGTH))
    words = np.zeros((size, LENGTH), np.int64)
    for start in range(0, size, _CHUNK):
        rows = slice(start, start + _CHUNK)
        # `words` is filled while the steps read it back: a step's draw is the next one's input.
        for step, logits in enumerate(_steps(params, latents[rows], words[rows])):
            mass = np.cumsum(np.exp(logits - logits.max(-1, keepdims=True)), axis=-1)
            drawn = (mass < thresholds[rows, step, None] * mass[:, -1:]).sum(-1)
            words[rows, step] = drawn
    return latents, words


def log_likelihood(params: Parameters, latents: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Computes the true log p(x|z) in nats.

    Args:
      params: of the generator.
      latents: `[N, 2]`.
      words: `[N, 10]` word numbers.

    Returns:
      `[N]`, summed over the ten words. The generator has no end symbol: its lengths are fixed.
    """
    total = np.zeros(len(latents))
    for step, logits in enumerate(_steps(params, latents, words)):
        peak = logits.max(-1)
        chosen = np.take_along_axis(logits, words[:, step, None], axis=-1)[:, 0]
        total += chosen - peak - np.log(np.exp(logits - peak[:, None]).sum(-1))
    return total


def log_prior(latents: np.ndarray) -> np.ndarray:
    """Computes the true log p(z) in nats, `[N, 2]` -> `[N]`."""
    squared = ((latents[:, None, :] - CENTRES) ** 2).sum(-1)
    return np.log(np.exp(-0.5 * squared).sum(-1) / (2 * np.pi * len(CENTRES)))


def _steps(params: Parameters, latents: np.ndarray, words: np.ndarray) -> Iterator[np.ndarray]:
    """Logits `[N, V]` of each word in turn; reads a word only after giving its logits."""
    cell = _affine(latents, params.initial)
    hidden = np.tanh(cell)
    previous = np.full(len(latents), VOCABULARY)
    for step in range(words.shape[1]):
        inputs = np.concatenate([params.embedding[previous], hidden], axis=-1)
        i, f, g, o = np.split(_affine(inputs, params.recurrent), 4, axis=-1)
        cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
        hidden = _sigmoid(o) * np.tanh(cell)
        yield _affine(hidden, params.output)
        previous = words[:, step]


def _affine(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return x @ weights[:-1] + weights[-1]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _rng(seed: int, stream: str) -> np.random.Generator:
    return np.random.default_rng([seed, _STREAMS[stream]])
