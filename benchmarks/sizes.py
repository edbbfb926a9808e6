"""The models that are timed, by the corpora whose sizes they have."""

from typing import NamedTuple

import numpy as np


class Size(NamedTuple):
    """Vocabulary, widths, and the predicted tokens of every sentence of a batch.

    All sentences of a batch have one length, as in the published scripts: no framework pays for
    padding here. The decoder is "lstm", "cnn" (`CNN_BLOCKS` blocks of `hidden_size` channels) or
    "transformer" (`TF_LAYERS` blocks, as its encoder has); the others' encoder is an LSTM. Dropout
    acts in training and is what is usual; the learning rate is plain SGD's, He et al.'s, with
    which a Transformer's KL grows without bound.
    """

    vocab_size: int
    embed_size: int
    hidden_size: int
    length: int
    latent_size: int = 32
    batch_size: int = 32
    decoder: str = "lstm"
    dropout: float = 0.5
    learning_rate: float = 1.0

    @property
    def encoder(self) -> str:
        """By its name in jvae."""
        return "transformer" if self.decoder == "transformer" else "lstm"


SIZES = {
    "tiny": Size(50, 8, 12, 5, 4, 4),  # for the tests
    "captions": Size(6_000, 128, 256, 12),
    "ptb": Size(10_000, 256, 256, 22),
    "ptb_he": Size(10_000, 512, 1024, 22),
    "yahoo": Size(20_000, 512, 1024, 80),
    "tiny_cnn": Size(50, 8, 12, 5, 4, 4, "cnn"),
    "captions_cnn": Size(6_000, 128, 256, 12, decoder="cnn"),
    "ptb_he_cnn": Size(10_000, 512, 1024, 22, decoder="cnn"),  # blocks of 1024, as published
    "tiny_tf": Size(50, 8, 12, 5, 4, 4, "transformer", 0.1, 0.01),
    "captions_tf": Size(6_000, 128, 256, 12, 32, 32, "transformer", 0.1, 0.01),
}
CNN_BLOCKS, CNN_TAPS = 3, 3  # the smallest decoder of Yang et al. (2017): dilations 1, 2, 4
TF_LAYERS, TF_HEADS = 2, 4  # jvae's defaults; 4 H units within each block


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

    def dense(inputs: int, outputs: int) -> dict:
        return {"kernel": uniform(inputs, outputs, scale=2.0), "bias": uniform(outputs, scale=2.0)}

    def kernel(inputs: int, outputs: int) -> dict:
        return {"kernel": uniform(inputs, outputs, scale=2.0)}

    def norm() -> dict:
        scale, bias = rng.uniform(0.5, 1.5, h), rng.uniform(-0.5, 0.5, h)
        return {"scale": scale.astype(np.float32), "bias": bias.astype(np.float32)}

    def transformer(told_of_z: bool) -> dict:
        parts = {"widen": kernel(e, h), "final_norm": norm()}
        for block in range(TF_LAYERS):
            parts[f"blocks_{block}"] = {
                "self_attention": {"input": kernel(h, 3 * h), "output": kernel(h, h)},
                "attention_norm": norm(),
                "widen": dense(h, 4 * h),
                "narrow": dense(4 * h, h),
                "feed_forward_norm": norm(),
            } | ({"latent": kernel(z, h)} if told_of_z else {})
        return parts

    encoder = {"embedding": embedding()}
    encoder |= {"transformer": transformer(False)} if size.encoder != "lstm" else {"lstm": lstm()}
    encoder["head"] = kernel(h, 2 * z)
    if size.decoder == "transformer":
        decoder = {"embedding": embedding(), "transformer": transformer(True)}
    elif size.decoder == "cnn":
        inner = (h + 1) // 2
        decoder = {"embedding": embedding(), "input": dense(e, h)}
        decoder["latent_to_input"] = {"kernel": uniform(z, h, scale=2.0)}
        for block in range(CNN_BLOCKS):
            decoder[f"blocks_{block}"] = {
                "narrow": dense(h, inner),
                "filter": dense(CNN_TAPS * inner, inner),
                "widen": dense(inner, h),
            }
    else:
        decoder = {"embedding": embedding(), "lstm": lstm()}
        decoder["latent_to_cell"] = {"kernel": uniform(z, h, scale=2.0)}
        decoder["latent_to_gates"] = {"kernel": uniform(z, 4 * h, scale=2.0)}
    decoder["output_kernel"] = uniform(h, v, scale=12.0)
    return {"encoder": encoder, "decoder": decoder, "prior": {}}


def usual_start(size: Size) -> dict:
    """Small weights to train from: from large ones training would soon leave the finite numbers."""

    def small(weights: dict) -> dict:
        return {
            key: small(value) if isinstance(value, dict) else 0.05 * value
            for key, value in weights.items()
        }

    return small(random_weights(size, 0))


def flops(size: Size, case: str, *, sentences: float, samples: int = 1) -> float:
    """Floating-point operations of the matrix products that a case cannot do without.

    Encoder and decoder each have products of the embeddings and of the layers' states, the decoder
    also the output layer; a gradient costs twice its forward product, once of which is for the
    weights.
    """
    v, e, h, t = size.vocab_size, size.embed_size, size.hidden_size, size.length
    encoder = 2.0 * sentences * (t + 1) * (e + h) * 4 * h
    if size.decoder == "transformer":
        # Each attention has two products, of H by the tokens that are seen: on average half.
        attention, rest = 4 * h * h + 2 * h * (t + 1) / 2, 8 * h * h
        encoder = 2.0 * sentences * t * (e * h + TF_LAYERS * (4 * h * h + 2 * h * t + rest))
        of_word = e * h + attention  # the first block learns of z after its attention
        of_state = TF_LAYERS * (attention + rest) - attention
    elif size.decoder == "cnn":
        inner = (h + 1) // 2
        of_word, of_state = e * h, CNN_BLOCKS * (2 * h * inner + CNN_TAPS * inner * inner)
    else:
        of_word, of_state = e * 4 * h, 4 * h * h
    words = 2.0 * sentences * t * of_word
    states = 2.0 * sentences * t * (of_state + h * v)  # what z takes part in
    if case == "joint":
        return 3 * (encoder + words + states)
    if case == "inner":  # no weight gradient of the decoder, none of its embeddings
        return 3 * encoder + words + 2 * states
    if case == "iw":
        return encoder + words + samples * states
    if case == "greedy":
        return words + states
    raise ValueError(f"no count of operations for {case!r}")
