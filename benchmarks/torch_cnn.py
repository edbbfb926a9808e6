"""The dilated CNN decoder of the PyTorch baseline."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.sizes import CNN_BLOCKS, CNN_TAPS, Size


class Block(nn.Module):
    """A residual block of Yang et al. (2017), words first.

    The filter is one product over stacked taps, as in jvae: `torch.nn.functional.conv1d` took 1.06
    to 1.4 times as long (one core, with gradient).
    """

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        inner = (channels + 1) // 2
        self.narrow = nn.Linear(channels, inner)
        self.filter = nn.Linear(CNN_TAPS * inner, inner)
        self.widen = nn.Linear(inner, channels)
        self.dilation = dilation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[T, B, C] -> [T, B, C]`."""
        past = (CNN_TAPS - 1) * self.dilation
        padded = F.pad(F.relu(self.narrow(x)), (0, 0, 0, 0, past, 0))
        taps = [padded[first : first + len(x)] for first in range(0, past + 1, self.dilation)]
        filtered = F.relu(self.filter(torch.cat(taps, dim=-1)))
        return F.relu(x + self.widen(filtered))


class CNNDecoder(nn.Module):
    """`p(x | z)`: z is joined to every input, and its share computed once a sentence."""

    def __init__(self, size: Size, dropout: float):
        super().__init__()
        self.embedding = nn.Embedding(size.vocab_size, size.embed_size)
        self.input = nn.Linear(size.embed_size, size.hidden_size)
        self.latent_to_input = nn.Linear(size.latent_size, size.hidden_size, bias=False)
        self.blocks = nn.ModuleList(Block(size.hidden_size, 2**i) for i in range(CNN_BLOCKS))
        self.output = nn.Linear(size.hidden_size, size.vocab_size, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """`log p(x | z)`, `[B]`, for `tokens [B, T + 1]`, or `[1, T + 1]` for one sentence."""
        embedded = self.dropout(self.embedding(tokens[:, :-1].T))
        hidden = self.input(embedded) + self.latent_to_input(z)
        for block in self.blocks:
            hidden = block(hidden)
        hidden = self.dropout(hidden)
        logits = self.output(hidden.reshape(-1, hidden.shape[-1]))
        targets = tokens[:, 1:].T.expand(-1, len(z)).reshape(-1)
        nll = F.cross_entropy(logits, targets, reduction="none")
        return -nll.reshape(hidden.shape[:2]).sum(0)

    def by_jvae_names(self, of: Callable[[nn.Parameter], torch.Tensor]) -> dict:
        """Views of its parameters as jvae has them."""

        def dense(linear: nn.Linear) -> dict:
            return {"kernel": of(linear.weight).T, "bias": of(linear.bias)}

        names = {
            "embedding": {"embedding": of(self.embedding.weight)},
            "input": dense(self.input),
            "latent_to_input": {"kernel": of(self.latent_to_input.weight).T},
            "output_kernel": of(self.output.weight).T,
        }
        for i, block in enumerate(self.blocks):
            parts = ("narrow", "filter", "widen")
            names[f"blocks_{i}"] = {part: dense(getattr(block, part)) for part in parts}
        return names
