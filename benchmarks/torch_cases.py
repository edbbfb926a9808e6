"""What is timed of PyTorch: the baseline as published scripts write it, and with jvae's tricks."""

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.sizes import Size, random_tokens, random_weights
from benchmarks.torch_model import TextVAE, load

CLIP = 5.0


def rounding(precision: str) -> torch.autocast:
    """Mixed precision as PyTorch has it, for the forward pass; with "float32" nothing happens."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")


class Training:
    """One optimiser for the encoder, one for the decoder, as in He et al. (2019)."""

    def __init__(self, size: Size, precision: str = "float32"):
        self.model = TextVAE(size, size.dropout)
        load(self.model, _small(random_weights(size, 0)))
        self.encoder = [p for p in self.model.encoder.parameters() if p.requires_grad]
        self.decoder = [p for p in self.model.decoder.parameters() if p.requires_grad]
        self.encoder_optimiser = torch.optim.SGD(self.encoder, lr=size.learning_rate)
        self.decoder_optimiser = torch.optim.SGD(self.decoder, lr=size.learning_rate)
        self.size, self.precision = size, precision

    def _backward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.encoder_optimiser.zero_grad(set_to_none=True)
        self.decoder_optimiser.zero_grad(set_to_none=True)
        noise = torch.randn(len(tokens), self.size.latent_size)
        with rounding(self.precision):
            loss = self.model.loss(tokens, noise)
        loss.backward()
        return loss

    def joint(self, tokens: torch.Tensor) -> None:
        """One update of everything."""
        self._backward(tokens)
        torch.nn.utils.clip_grad_norm_(self.encoder + self.decoder, CLIP)
        self.encoder_optimiser.step()
        self.decoder_optimiser.step()

    def decoder_only(self, tokens: torch.Tensor) -> None:
        """The outer step of the aggressive phase."""
        self._backward(tokens)
        torch.nn.utils.clip_grad_norm_(self.encoder + self.decoder, CLIP)
        self.decoder_optimiser.step()

    def inner(self, batches: list[torch.Tensor], *, full: bool) -> None:
        """Encoder updates.

        Args:
          batches: one each.
          full: compute the decoder's gradients too, for the joint norm, as the published script.
        """
        for parameter in self.decoder:
            parameter.requires_grad_(full)
        clipped = self.encoder + self.decoder if full else self.encoder
        total = 0.0
        for tokens in batches:
            loss = self._backward(tokens)
            torch.nn.utils.clip_grad_norm_(clipped, CLIP)
            self.encoder_optimiser.step()
            total += loss.item()  # for the stop rule
        for parameter in self.decoder:
            parameter.requires_grad_(True)


def _small(weights: dict) -> dict:
    return {
        key: _small(value) if isinstance(value, dict) else 0.05 * value
        for key, value in weights.items()
    }


def _rows(size: Size, number: int) -> list[torch.Tensor]:
    tokens = torch.from_numpy(random_tokens(size, number * size.batch_size, 0)).long()
    return list(tokens.split(size.batch_size))


def joint(size: Size, steps: int, precision: str) -> Callable[[], None]:
    """Joint steps."""
    training, rows = Training(size, precision), _rows(size, steps)

    def run() -> None:
        for tokens in rows:
            training.joint(tokens)

    return run


def inner(size: Size, updates: int, *, full: bool) -> Callable[[], None]:
    """One aggressive step: so many updates of the encoder, one of the decoder."""
    training, rows = Training(size), _rows(size, updates)

    def run() -> None:
        training.inner(rows, full=full)
        training.decoder_only(rows[0])

    return run


def epoch(
    size: Size, tokens: np.ndarray, lengths: np.ndarray, steps: int, updates: int
) -> Callable[[], None]:
    """Several aggressive steps by the published procedure.

    Batches of equal length, drawn at random for the inner updates, and gradients of everything.
    """
    training, rng = Training(size), np.random.default_rng(0)
    batches = []
    for length in np.unique(lengths):
        rows = torch.from_numpy(tokens[lengths == length][:, : length + 1]).long()
        batches += list(rows.split(size.batch_size))

    def run() -> None:
        for number in rng.integers(0, len(batches), steps):
            drawn = [batches[i] for i in rng.integers(0, len(batches), updates)]
            training.inner(drawn, full=True)
            training.decoder_only(batches[number])

    return run


def _evaluated(size: Size) -> TextVAE:
    model = TextVAE(size, 0.0).eval()
    load(model, random_weights(size, 0))
    return model


def iw(size: Size, sentences: int, samples: int, chunk: int) -> Callable[[], None]:
    """IW-NLL of so many sentences."""
    model = _evaluated(size)
    tokens = torch.from_numpy(random_tokens(size, sentences, 0)).long()
    noise = torch.randn(samples, sentences, size.latent_size)
    return lambda: model.iw_nll(tokens, noise, chunk)


def greedy_decoding(size: Size, sentences: int) -> Callable[[], None]:
    """Greedy sentences from the prior."""
    model, z = _evaluated(size), torch.randn(sentences, size.latent_size)
    return lambda: model.greedy(z, size.length)


def beam(size: Size, sentences: int, width: int) -> Callable[[], None]:
    """Beam search from the prior."""
    model, z = _evaluated(size), torch.randn(sentences, size.latent_size)
    return lambda: model.beam(z, size.length, width)
