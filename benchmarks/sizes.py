"""The models that are timed, by the corpora whose sizes they have."""

from typing import NamedTuple

import numpy as np


class Size(NamedTuple):
    """Vocabulary, widths, and the predicted tokens of every sentence of a batch.

    All sentences of a batch have one length, as in the published scripts: no framework pays for
    padding here.
    """

    vocab_size: int
    embed_size: int
    hidden_size: int
    length: int
    latent_size: int = 32
    batch_size: int = 32


SIZES = {
    "tiny": Size(50, 8, 12, 5, 4, 4),  # for the tests
    "captions": Size(6_000, 128, 256, 12),
    "ptb": Size(10_000, 256, 256, 22),
    "ptb_he": Size(10_000, 512, 1024, 22),
    "yahoo": Size(20_000, 512, 1024, 80),
}


def random_tokens(size: Size, number: int, seed: int) -> np.ndarray:
    """`[number, length + 1]`: `<s>`, random words, `</s>`."""
    rng = np.random.default_rng([seed, 1])
    tokens = rng.integers(4, size.vocab_size, (number, size.length + 1), dtype=np.int32)
    tokens[:, 0], tokens[:, -1] = 1, 2
    return tokens


def random_weights(size: Size, seed: int) -> dict:
    """Parameters of jvae as NumPy arrays, large enough for every part to matter.

    With the usual start, `U(-0.01, 0.01)`, all words are equally likely whatever the network does,
    and a comparison of two implementations sees nothing.
    """
    rng = np.random.default_rng([seed, 2])
    v, e, h, z = size.vocab_size, size.embed_size, size.hidden_size, size.latent_size

    def uniform(*shape: int, scale: float = 1.0) -> np.ndarray:
        bound = scale / np.sqrt(shape[0])
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    def embedding() -> dict:
        return {"embedding": rng.uniform(-1, 1, (v, e)).astype(np.float32)}

    def lstm() -> dict:
        return {
            "input": {"kernel": uniform(e, 4 * h, scale=2.0), "bias": uniform(4 * h, scale=2.0)},
            "recurrent_kernel": uniform(h, 4 * h, scale=4.0),
        }

    return {
        "encoder": {
            "embedding": embedding(),
            "lstm": lstm(),
            "head": {"kernel": uniform(h, 2 * z, scale=2.0)},
        },
        "decoder": {
            "embedding": embedding(),
            "lstm": lstm(),
            "latent_to_cell": {"kernel": uniform(z, h, scale=2.0)},
            "latent_to_gates": {"kernel": uniform(z, 4 * h, scale=2.0)},
            "output_kernel": uniform(h, v, scale=12.0),
        },
        "prior": {},
    }


def flops(size: Size, case: str, *, sentences: int, samples: int = 1) -> float:
    """Floating-point operations of the matrix products that a case cannot do without.

    Encoder and decoder each have input and recurrent products, the decoder also the output layer;
    a gradient costs twice its forward product, once of which is for the weights.
    """
    v, e, h, t = size.vocab_size, size.embed_size, size.hidden_size, size.length
    encoder = 2.0 * sentences * (t + 1) * (e + h) * 4 * h
    decoder = 2.0 * sentences * t * ((e + h) * 4 * h + h * v)
    if case == "joint":
        return 3 * (encoder + decoder)
    if case == "inner":  # no weight gradient of the decoder, none of its embeddings
        recurrent_and_output = 2.0 * sentences * t * (4 * h * h + h * v)
        return 3 * encoder + decoder + recurrent_and_output
    if case == "iw":
        per_sample = 2.0 * sentences * t * (4 * h * h + h * v)
        return encoder + 2.0 * sentences * t * e * 4 * h + samples * per_sample
    if case == "greedy":
        return decoder
    raise ValueError(f"no count of operations for {case!r}")
