"""What is timed of PyTorch: the baseline as published scripts write it, and with jvae's tricks.

The rounds of `epoch` are those of jvae's case, by the published procedure.
"""

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.device import synchronise
from benchmarks.sizes import Size, random_tokens, random_weights, usual_start
from benchmarks.torch_model import TextVAE, load

CLIP = 5.0

Noise = Callable[[int, int], torch.Tensor]  # rows, L -> what a batch's z is made with


def rounding(device: str, precision: str) -> torch.autocast:
    """Mixed precision as PyTorch has it, for the forward pass; with "float32" nothing happens."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")


class Training:
    """One optimiser for the encoder, one for the decoder, as in He et al. (2019)."""

    def __init__(
        self,
        size: Size,
        weights: dict,
        device: str,
        precision: str = "float32",
        noise: Noise | None = None,
    ):
        self.model = TextVAE(size, size.dropout)
        load(self.model, weights)
        self.model.to(device)
        self.encoder = [p for p in self.model.encoder.parameters() if p.requires_grad]
        self.decoder = [p for p in self.model.decoder.parameters() if p.requires_grad]
        self.encoder_optimiser = torch.optim.SGD(self.encoder, lr=size.learning_rate)
        self.decoder_optimiser = torch.optim.SGD(self.decoder, lr=size.learning_rate)
        self.noise = noise or (lambda *shape: torch.randn(*shape, device=device))
        self.size, self.device, self.precision = size, device, precision

    def _backward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.encoder_optimiser.zero_grad(set_to_none=True)
        self.decoder_optimiser.zero_grad(set_to_none=True)
        noise = self.noise(len(tokens), self.size.latent_size)
        with rounding(self.device, self.precision):
            loss = self.model.loss(tokens, noise)
        loss.backward()
        return loss

    def joint(self, tokens: torch.Tensor) -> torch.Tensor:
        """One update of everything; the batch's loss before it."""
        loss = self._backward(tokens)
        torch.nn.utils.clip_grad_norm_(self.encoder + self.decoder, CLIP)
        self.encoder_optimiser.step()
        self.decoder_optimiser.step()
        return loss

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


def on_device(tokens: np.ndarray, device: str) -> torch.Tensor:
    """As PyTorch's embeddings read them."""
    return torch.from_numpy(tokens).long().to(device)


def _rows(size: Size, number: int, device: str) -> list[torch.Tensor]:
    tokens = random_tokens(size, number * size.batch_size, 0)
    return list(on_device(tokens, device).split(size.batch_size))


def joint(size: Size, steps: int, precision: str, device: str) -> Callable[[], None]:
    """Joint steps."""
    training = Training(size, usual_start(size), device, precision)
    rows = _rows(size, steps, device)

    def run() -> None:
        for tokens in rows:
            training.joint(tokens)
        synchronise(device)

    return run


def inner(size: Size, updates: int, device: str, *, full: bool) -> Callable[[], None]:
    """One aggressive step: so many updates of the encoder, one of the decoder."""
    training, rows = Training(size, usual_start(size), device), _rows(size, updates, device)

    def run() -> None:
        training.inner(rows, full=full)
        training.decoder_only(rows[0])
        synchronise(device)

    return run


def epoch(
    size: Size, tokens: np.ndarray, lengths: np.ndarray, steps: int, updates: int, device: str
) -> Callable[[], None]:
    """Several aggressive steps by the published procedure, without its stop rule's end.

    Batches of equal length, drawn at random for the inner updates, and gradients of everything.
    """
    training, rng = Training(size, usual_start(size), device), np.random.default_rng(0)
    batches = []
    for length in np.unique(lengths):
        rows = on_device(tokens[lengths == length][:, : length + 1], device)
        batches += list(rows.split(size.batch_size))

    def run() -> None:
        for number in rng.integers(0, len(batches), steps):
            drawn = [batches[i] for i in rng.integers(0, len(batches), updates)]
            training.inner(drawn, full=True)
            training.decoder_only(batches[number])
        synchronise(device)

    return run


def _evaluated(size: Size, device: str) -> TextVAE:
    model = TextVAE(size, 0.0).eval()
    load(model, random_weights(size, 0))
    return model.to(device)


def iw(size: Size, sentences: int, samples: int, chunk: int, device: str) -> Callable[[], None]:
    """IW-NLL of so many sentences."""
    model = _evaluated(size, device)
    tokens = on_device(random_tokens(size, sentences, 0), device)
    noise = torch.randn(samples, sentences, size.latent_size, device=device)

    def run() -> None:
        model.iw_nll(tokens, noise, chunk)
        synchronise(device)

    return run


def greedy_decoding(size: Size, sentences: int, device: str) -> Callable[[], None]:
    """Greedy sentences from the prior, all in one call."""
    model = _evaluated(size, device)
    z = torch.randn(sentences, size.latent_size, device=device)

    def run() -> None:
        model.greedy(z, size.length)
        synchronise(device)

    return run


def beam(size: Size, sentences: int, width: int, device: str) -> Callable[[], None]:
    """Beam search from the prior, all sentences in one call."""
    model = _evaluated(size, device)
    z = torch.randn(sentences, size.latent_size, device=device)

    def run() -> None:
        model.beam(z, size.length, width)
        synchronise(device)

    return run
