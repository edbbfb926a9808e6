"""The same VAEs in PyTorch, here on `torch.nn.LSTM`: the baseline that jvae is timed against.

Written for speed as a careful PyTorch user would: words first, one flat output product, in-place
gradients set to None. `load` takes jvae's parameters, `read` gives them or their gradients back.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.sizes import Size
from benchmarks.torch_cnn import CNNDecoder
from benchmarks.torch_transformer import TransformerDecoder, TransformerEncoder

Of = Callable[[nn.Parameter], torch.Tensor]  # its data, or its gradient


class Encoder(nn.Module):
    """`tokens [B, T + 1] -> mean, log_var [B, L]`."""

    def __init__(self, size: Size):
        super().__init__()
        self.embedding = nn.Embedding(size.vocab_size, size.embed_size)
        self.lstm = nn.LSTM(size.embed_size, size.hidden_size)
        self.head = nn.Linear(size.hidden_size, 2 * size.latent_size, bias=False)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reads the whole sentence."""
        _, (last, _) = self.lstm(self.embedding(tokens.T))
        return self.head(last[-1]).chunk(2, dim=-1)

    def by_jvae_names(self, of: Of) -> dict:
        """Views of its parameters as jvae has them."""
        return {
            "embedding": {"embedding": of(self.embedding.weight)},
            "lstm": {
                "input": {
                    "kernel": of(self.lstm.weight_ih_l0).T,
                    "bias": of(self.lstm.bias_ih_l0),
                },
                "recurrent_kernel": of(self.lstm.weight_hh_l0).T,
            },
            "head": {"kernel": of(self.head.weight).T},
        }


class LSTMDecoder(nn.Module):
    """`p(x | z)`: z sets the first state and is appended to every input, as in He et al. (2019)."""

    def __init__(self, size: Size, dropout: float):
        super().__init__()
        self.embedding = nn.Embedding(size.vocab_size, size.embed_size)
        self.lstm = nn.LSTM(size.embed_size + size.latent_size, size.hidden_size)
        self.latent_to_cell = nn.Linear(size.latent_size, size.hidden_size, bias=False)
        self.output = nn.Linear(size.hidden_size, size.vocab_size, bias=False)
        self.dropout = nn.Dropout(dropout)

    def start(self, z: torch.Tensor, max_length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The state before the first token."""
        del max_length  # the state does not grow
        cell = self.latent_to_cell(z)[None]
        return torch.tanh(cell), cell

    def forward(self, z: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """`log p(x | z)`, `[B]`, for `tokens [B, T + 1]`, or `[1, T + 1]` for one sentence."""
        tokens = tokens.expand(len(z), -1)
        embedded = self.dropout(self.embedding(tokens[:, :-1].T))
        inputs = torch.cat([embedded, z.expand(embedded.shape[0], *z.shape)], dim=-1)
        hidden, _ = self.lstm(inputs, self.start(z, len(inputs)))
        hidden = self.dropout(hidden)
        logits = self.output(hidden.reshape(-1, hidden.shape[-1]))
        nll = F.cross_entropy(logits, tokens[:, 1:].T.reshape(-1), reduction="none")
        return -nll.reshape(hidden.shape[:2]).sum(0)

    def step(self, state: Any, z: torch.Tensor, token: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """One token `[B]` -> the next one's logits `[B, V]`."""
        inputs = torch.cat([self.embedding(token), z], dim=-1)[None]
        hidden, state = self.lstm(inputs, state)
        return state, self.output(hidden[0])

    def by_jvae_names(self, of: Of) -> dict:
        """Views of its parameters as jvae has them."""
        kernel, size = of(self.lstm.weight_ih_l0).T, self.embedding.embedding_dim
        return {
            "embedding": {"embedding": of(self.embedding.weight)},
            "lstm": {
                "input": {"kernel": kernel[:size], "bias": of(self.lstm.bias_ih_l0)},
                "recurrent_kernel": of(self.lstm.weight_hh_l0).T,
            },
            "latent_to_cell": {"kernel": of(self.latent_to_cell.weight).T},
            "latent_to_gates": {"kernel": kernel[size:]},
            "output_kernel": of(self.output.weight).T,
        }


class TextVAE(nn.Module):
    """Encoder, decoder, standard normal prior."""

    def __init__(self, size: Size, dropout: float):
        super().__init__()
        if size.encoder == "transformer":
            self.encoder: nn.Module = TransformerEncoder(size, dropout)
        else:
            self.encoder = Encoder(size)
        decoders = {"lstm": LSTMDecoder, "cnn": CNNDecoder, "transformer": TransformerDecoder}
        self.decoder = decoders[size.decoder](size, dropout)
        for module in self.modules():
            if isinstance(module, nn.LSTM):
                nn.init.zeros_(module.bias_hh_l0)  # one bias, as in jvae
                module.bias_hh_l0.requires_grad_(False)

    def loss(self, tokens: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Mean of `rec + KL` over the batch; `noise [B, L]`."""
        mean, log_var = self.encoder(tokens)
        z = mean + noise * torch.exp(0.5 * log_var)
        kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum(-1)
        return (kl - self.decoder(z, tokens)).mean()

    @torch.no_grad()
    def iw_nll(self, tokens: torch.Tensor, noise: torch.Tensor, chunk: int) -> torch.Tensor:
        """`[B]`, `-log 1/K sum_k w_k`; `noise [K, B, L]`; `chunk` samples of a sentence at once."""
        mean, log_var = self.encoder(tokens)
        samples = noise.shape[0]
        rows = []
        for row in range(tokens.shape[0]):
            weights = []
            for first in range(0, samples, chunk):
                eps = noise[first : first + chunk, row]
                z = mean[row] + eps * torch.exp(0.5 * log_var[row])
                log_likelihood = self.decoder(z, tokens[row : row + 1])
                # log p(z) - log q(z | x): the constants cancel.
                ratio = 0.5 * (eps.square() + log_var[row] - z.square()).sum(-1)
                weights.append(log_likelihood + ratio)
            rows.append(math.log(samples) - torch.logsumexp(torch.cat(weights), dim=0))
        return torch.stack(rows)

    @torch.no_grad()
    def greedy(self, z: torch.Tensor, max_length: int) -> torch.Tensor:
        """`[B, max_length]`: the likeliest words until every sentence has ended."""
        state = self.decoder.start(z, max_length)
        token = torch.full((len(z),), 1, device=z.device)
        ended = torch.zeros(len(z), dtype=torch.bool, device=z.device)
        words = torch.zeros(len(z), max_length, dtype=torch.long, device=z.device)
        for step in range(max_length):
            state, logits = self.decoder.step(state, z, token)
            logits[:, :2] = -torch.inf
            token = logits.argmax(-1).masked_fill(ended, 0)
            words[:, step] = token
            ended |= token == 2
            if bool(ended.all()):
                break
        return words

    @torch.no_grad()
    def beam(self, z: torch.Tensor, max_length: int, width: int) -> torch.Tensor:
        """`[B, max_length]`: batched beam search, all sentences in one batch of hypotheses."""
        rows = len(z)
        every = torch.arange(rows, device=z.device)
        first = every[:, None] * width
        wide = z.repeat_interleave(width, dim=0)
        state = self.decoder.start(wide, max_length)
        token = torch.full((rows * width,), 1, device=z.device)
        words = torch.zeros(rows, width, max_length, dtype=torch.long, device=z.device)
        score = torch.full((rows, width), -torch.inf, device=z.device)
        score[:, 0] = 0.0
        best, best_score = words[:, 0].clone(), torch.full_like(score[:, 0], -torch.inf)
        for step in range(max_length):
            state, logits = self.decoder.step(state, wide, token)
            gain = torch.log_softmax(logits, dim=-1)
            gain[:, :2] = -torch.inf
            total = score[:, :, None] + gain.view(rows, width, -1)
            score, flat = total.view(rows, -1).topk(width, dim=-1)
            parent = flat // logits.shape[1]
            chosen = flat % logits.shape[1]
            words = words.gather(1, parent[:, :, None].expand(-1, -1, max_length)).clone()
            words[:, :, step] = chosen
            moved = (first + parent).view(-1)
            state = tuple(part[:, moved] for part in state)
            token = chosen.view(-1)
            ended = (chosen == 2) | (step + 1 == max_length)
            ending, place = score.masked_fill(~ended, -torch.inf).max(dim=-1)
            wins = ending > best_score
            best = torch.where(wins[:, None], words[every, place], best)
            best_score = torch.maximum(ending, best_score)
            score = score.masked_fill(ended, -torch.inf)
            if bool((score.amax(-1) <= best_score).all()):
                break
        return best


def _views(model: TextVAE, of: Of) -> dict:
    return {part: getattr(model, part).by_jvae_names(of) for part in ("encoder", "decoder")}


def load(model: TextVAE, params: dict) -> None:
    """Copies jvae's parameters."""

    def copy(views: dict, values: dict) -> None:
        assert views.keys() == values.keys(), (views.keys(), values.keys())
        for name, view in views.items():
            if isinstance(view, dict):
                copy(view, values[name])
            else:
                view.copy_(torch.from_numpy(values[name]))

    copy(_views(model, lambda weight: weight.data) | {"prior": {}}, params)


def read(model: TextVAE, of: str = "data") -> dict:
    """Parameters (`of="data"`) or gradients (`of="grad"`) under jvae's names."""

    def arrays(views: dict) -> dict:
        return {
            name: arrays(view) if isinstance(view, dict) else view.cpu().numpy().copy()
            for name, view in views.items()
        }

    return arrays(_views(model, lambda weight: getattr(weight, of))) | {"prior": {}}
