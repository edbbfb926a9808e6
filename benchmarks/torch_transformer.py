"""The Transformer encoder and decoder of the PyTorch baseline."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.sizes import TF_HEADS, TF_LAYERS, Size

Of = Callable[[nn.Parameter], torch.Tensor]  # its data, or its gradient
EPSILON = 1e-6  # of the norms: Flax's, PyTorch's own is 1e-5


class Rows(nn.Linear):
    """A linear layer of flat rows, one two-dimensional product there and back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[.., I] -> [.., O]`."""
        return super().forward(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)


class Block(nn.Module):
    """Self-attention, the share of z in a decoder, two layers with ReLU between; pre-norm.

    As in jvae the attention has no biases, and of a z that is one vector a linear map is added.
    """

    def __init__(self, size: Size, dropout: float, causal: bool):
        super().__init__()
        width = size.hidden_size
        self.attention_norm = nn.LayerNorm(width, eps=EPSILON)
        self.input = Rows(width, 3 * width, bias=False)
        self.output = Rows(width, width, bias=False)
        self.latent = Rows(size.latent_size, width, bias=False) if causal else None
        self.feed_forward_norm = nn.LayerNorm(width, eps=EPSILON)
        self.widen = Rows(width, 4 * width)
        self.narrow = Rows(4 * width, width)
        self.dropout = nn.Dropout(dropout)
        self.causal = causal

    def precompute(self, z: torch.Tensor) -> torch.Tensor:
        """What every token is told of z: `[B, L] -> [B, 1, H]`."""
        assert self.latent is not None
        return self.latent(z)[:, None]

    def forward(self, x: torch.Tensor, share: torch.Tensor | None) -> torch.Tensor:
        """`[B, T, H] -> [B, T, H]`; one sentence and the shares of many z give a row for each."""
        query, key, value = self._project(x)
        y = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self._rest(x, y, share)

    def step(
        self, x: torch.Tensor, share: torch.Tensor, past: torch.Tensor, position: int
    ) -> torch.Tensor:
        """One more token, `[B, 1, H] -> [B, 1, H]`; writes to `past`, `[2, B, N, T_max, E]`."""
        query, *new = self._project(x)
        past[:, :, :, position] = torch.stack(new)[:, :, :, 0]
        key, value = past[:, :, :, : position + 1]
        return self._rest(x, F.scaled_dot_product_attention(query, key, value), share)

    def _project(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Queries, keys, values, `[B, N, T, E]`."""
        projected = self.input(self.attention_norm(x)).unflatten(-1, (3, TF_HEADS, -1))
        return projected.permute(2, 0, 3, 1, 4).unbind()

    def _rest(
        self, x: torch.Tensor, attended: torch.Tensor, share: torch.Tensor | None
    ) -> torch.Tensor:
        x = x + self.dropout(self.output(attended.transpose(1, 2).flatten(2)))
        if share is not None:
            x = x + share
        y = F.relu(self.widen(self.feed_forward_norm(x)))
        return x + self.dropout(self.narrow(y))

    def by_jvae_names(self, of: Of) -> dict:
        """Views of its parameters as jvae has them."""
        names = {
            "self_attention": {"input": _kernel(self.input, of), "output": _kernel(self.output, of)}
        }
        for part in ("widen", "narrow"):
            linear = getattr(self, part)
            names[part] = _kernel(linear, of) | {"bias": of(linear.bias)}
        for part in ("attention_norm", "feed_forward_norm"):
            names[part] = _norm(getattr(self, part), of)
        return names if self.latent is None else names | {"latent": _kernel(self.latent, of)}


class Transformer(nn.Module):
    """Blocks over `sqrt(E) W e_t + p_t`, with sinusoidal positions; the result is normalised."""

    def __init__(self, size: Size, dropout: float, causal: bool):
        super().__init__()
        self.widen = Rows(size.embed_size, size.hidden_size, bias=False)
        self.blocks = nn.ModuleList(Block(size, dropout, causal) for _ in range(TF_LAYERS))
        self.final_norm = nn.LayerNorm(size.hidden_size, eps=EPSILON)
        self.dropout = nn.Dropout(dropout)
        self.scale = math.sqrt(size.embed_size)
        rates = 10000.0 ** (-torch.arange(0, size.hidden_size, 2) / size.hidden_size)
        angles = torch.arange(size.length)[:, None] * rates
        pairs = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        self.register_buffer("positions", pairs[:, : size.hidden_size])

    def inputs(self, embedded: torch.Tensor, first: int) -> torch.Tensor:
        """`[B, T, E] -> [B, T, H]`, the tokens from number `first` on."""
        places = self.positions[first : first + embedded.shape[1]]
        return self.dropout(self.widen(self.scale * embedded) + places)

    def forward(self, embedded: torch.Tensor, z: torch.Tensor | None) -> torch.Tensor:
        """Whole sentences, `[B, T, E] -> [B, T, H]`."""
        hidden = self.inputs(embedded, 0)
        for block in self.blocks:
            hidden = block(hidden, None if z is None else block.precompute(z))
        return self.final_norm(hidden)

    def by_jvae_names(self, of: Of) -> dict:
        """Views of its parameters as jvae has them."""
        names = {"widen": _kernel(self.widen, of), "final_norm": _norm(self.final_norm, of)}
        return names | {
            f"blocks_{i}": block.by_jvae_names(of) for i, block in enumerate(self.blocks)
        }


class TransformerEncoder(nn.Module):
    """`tokens [B, T + 1] -> mean, log_var [B, L]`, of the hidden states' mean."""

    def __init__(self, size: Size, dropout: float):
        super().__init__()
        self.embedding = nn.Embedding(size.vocab_size, size.embed_size)
        self.transformer = Transformer(size, dropout, causal=False)
        self.head = nn.Linear(size.hidden_size, 2 * size.latent_size, bias=False)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reads the words and `</s>`; all sentences have one length, so nothing is masked."""
        hidden = self.transformer(self.embedding(tokens[:, 1:]), None)
        return self.head(hidden.mean(1)).chunk(2, dim=-1)

    def by_jvae_names(self, of: Of) -> dict:
        """Views of its parameters as jvae has them."""
        return {
            "embedding": {"embedding": of(self.embedding.weight)},
            "transformer": self.transformer.by_jvae_names(of),
            "head": _kernel(self.head, of),
        }


class TransformerDecoder(nn.Module):
    """`p(x | z)`: each block adds its linear map of z, computed once a sentence."""

    def __init__(self, size: Size, dropout: float):
        super().__init__()
        self.embedding = nn.Embedding(size.vocab_size, size.embed_size)
        self.transformer = Transformer(size, dropout, causal=True)
        self.output = nn.Linear(size.hidden_size, size.vocab_size, bias=False)

    def forward(self, z: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """`log p(x | z)`, `[B]`, for `tokens [B, T + 1]`, or `[1, T + 1]` for one sentence.

        Of one sentence, all before the first block's share of z is computed once.
        """
        hidden = self.transformer(self.embedding(tokens[:, :-1]), z)
        logits = self.output(hidden.flatten(0, 1))
        targets = tokens[:, 1:].expand(len(z), -1).reshape(-1)
        nll = F.cross_entropy(logits, targets, reduction="none")
        return -nll.reshape(hidden.shape[:2]).sum(1)

    def start(
        self, z: torch.Tensor, max_length: int
    ) -> tuple[int, list[torch.Tensor], list[torch.Tensor]]:
        """The first token's number; by block, the share of z and room for keys and values."""
        shares = [block.precompute(z) for block in self.transformer.blocks]
        room = 2, len(z), TF_HEADS, max_length, self.output.in_features // TF_HEADS
        pasts = [torch.empty(room, device=z.device) for _ in shares]
        return 0, shares, pasts

    def step(
        self,
        state: tuple[int, list[torch.Tensor], list[torch.Tensor]],
        z: torch.Tensor,
        token: torch.Tensor,
    ) -> tuple[tuple[int, list[torch.Tensor], list[torch.Tensor]], torch.Tensor]:
        """One token `[B]` -> the next one's logits `[B, V]`."""
        position, shares, pasts = state
        hidden = self.transformer.inputs(self.embedding(token)[:, None], position)
        for block, share, past in zip(self.transformer.blocks, shares, pasts, strict=True):
            hidden = block.step(hidden, share, past, position)
        logits = self.output(self.transformer.final_norm(hidden)[:, 0])
        return (position + 1, shares, pasts), logits

    def by_jvae_names(self, of: Of) -> dict:
        """Views of its parameters as jvae has them."""
        return {
            "embedding": {"embedding": of(self.embedding.weight)},
            "transformer": self.transformer.by_jvae_names(of),
            "output_kernel": of(self.output.weight).T,
        }


def _kernel(linear: nn.Linear, of: Of) -> dict:
    return {"kernel": of(linear.weight).T}


def _norm(norm: nn.LayerNorm, of: Of) -> dict:
    return {"scale": of(norm.weight), "bias": of(norm.bias)}
