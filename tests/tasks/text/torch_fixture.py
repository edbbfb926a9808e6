"""An own PyTorch VAE of the published scripts' layout, and the fixture that it made.

    python -m tests.tasks.text.torch_fixture

writes `torch_checkpoint/`: `model.pt` (a state_dict), `model.npz` (the same), `train.txt`,
`test.txt`, and `expected.npz`: noise, and the numbers of each test sentence with it. Names and
shapes of parameters are those that the scripts of He et al. and Li et al. save; the code is ours,
one sentence at a time, in double precision.
"""

import math

import numpy as np
import torch
from torch import nn

from tests.tasks.text.test_import_torch import FOLDER, GROUP, SAMPLES, latent_noise

EMBED, HIDDEN, LATENT = 5, 7, 3
WORDS = ("zebra", "the", "a", "</i>", "sees", "big", "cat", "Cat", "naïve", "hears", "dog")
TEST_LENGTHS = (3, 5, 6)  # sorted, and a group of sentences each: the batches of the scripts


class Encoder(nn.Module):
    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab, EMBED)
        self.lstm = nn.LSTM(EMBED, HIDDEN, batch_first=True)
        self.linear = nn.Linear(HIDDEN, 2 * LATENT, bias=False)

    def posterior(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`<s> .. </s>` `[T]` -> mean and log variance `[L]`."""
        states, _ = self.lstm(self.embed(tokens)[None])
        outputs = self.linear(states[0, -1])
        return outputs[:LATENT], outputs[LATENT:]


class Decoder(nn.Module):
    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab, EMBED, padding_idx=-1)
        self.trans_linear = nn.Linear(LATENT, HIDDEN, bias=False)
        self.lstm = nn.LSTM(EMBED + LATENT, HIDDEN, batch_first=True)
        self.pred_linear = nn.Linear(HIDDEN, vocab, bias=False)
        self.loss = nn.CrossEntropyLoss(weight=torch.ones(vocab), reduction="none")

    def log_prob(self, tokens: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """`<s> .. </s>` `[T]`, `z` `[K, L]` -> `[K]`."""
        inputs, targets = tokens[:-1], tokens[1:]
        words = self.embed(inputs).expand(len(z), -1, -1)
        latents = z[:, None].expand(-1, len(inputs), -1)
        cell = self.trans_linear(z)[None]
        hidden, _ = self.lstm(torch.cat([words, latents], -1), (torch.tanh(cell), cell))
        logits = self.pred_linear(hidden).flatten(0, 1)
        return -self.loss(logits, targets.repeat(len(z))).reshape(len(z), -1).sum(1)


class TextVAE(nn.Module):
    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(vocab), Decoder(vocab)


def _log_normal(x: torch.Tensor, mean: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
    return torch.distributions.Normal(mean, torch.exp(log_var / 2)).log_prob(x).sum(-1)


def numbers(
    state: dict, sentences: list[list[int]], noise: np.ndarray, iw_noise: np.ndarray
) -> dict[str, np.ndarray]:
    """Per sentence, nats: what the scripts report, given `[N, L]` and `[K, N, L]` of noise."""
    model = TextVAE(len(state["encoder.embed.weight"]))
    model.load_state_dict(state)
    model.double().eval()
    standard = torch.zeros(LATENT, dtype=torch.double)
    rows: dict[str, list] = {name: [] for name in ("mean", "log_var", "z", "rec", "kl", "iw_nll")}
    with torch.no_grad():
        for number, words in enumerate(sentences):
            tokens = torch.tensor([1, *words, 2])
            mean, log_var = model.encoder.posterior(tokens)
            q = torch.distributions.Normal(mean, torch.exp(log_var / 2))
            z = mean + q.scale * torch.tensor(noise[number])
            p = torch.distributions.Normal(standard, torch.ones_like(standard))
            samples = mean + q.scale * torch.tensor(iw_noise[:, number])
            weights = model.decoder.log_prob(tokens, samples)
            weights += _log_normal(samples, standard, standard) - q.log_prob(samples).sum(-1)
            rows["mean"].append(mean)
            rows["log_var"].append(log_var)
            rows["z"].append(z)
            rows["rec"].append(-model.decoder.log_prob(tokens, z[None])[0])
            rows["kl"].append(torch.distributions.kl_divergence(q, p).sum())
            rows["iw_nll"].append(math.log(len(weights)) - torch.logsumexp(weights, 0))
        found = {name: torch.stack(values) for name, values in rows.items()}
        found["mi"] = _mutual_information(found)
        found["au"] = (found["mean"].var(0) >= 0.01).sum()
    return {name: value.numpy() for name, value in found.items()}


def _mutual_information(found: dict[str, torch.Tensor]) -> torch.Tensor:
    """`-H(q(z|x)) - E log 1/n sum_m q(z|x_m)` of each group of sentences, averaged."""
    values = []
    for first in range(0, len(found["z"]), GROUP):
        z, mean, log_var = (found[name][first : first + GROUP] for name in ("z", "mean", "log_var"))
        entropy = torch.distributions.Normal(mean, torch.exp(log_var / 2)).entropy().sum(-1).mean()
        pairs = _log_normal(z[:, None], mean[None], log_var[None])
        values.append(-entropy - (torch.logsumexp(pairs, 1) - math.log(len(z))).mean())
    return torch.stack(values).mean()


def ids(words: list[str], line: str) -> list[int]:
    known = {word: number for number, word in enumerate(words)}
    return [known.get(word, 3) for word in line.split()]


def main() -> None:
    rng = np.random.default_rng(0)
    words = np.array(WORDS)
    train = ["the zebra sees <unk>", *(" ".join(rng.choice(words, 5)) for _ in range(19))]
    lengths = np.repeat(TEST_LENGTHS, GROUP)
    test = [" ".join(rng.choice([*words, "unseen"], length)) for length in lengths]
    FOLDER.mkdir(exist_ok=True)
    for name, lines in (("train.txt", train), ("test.txt", test)):
        (FOLDER / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    vocabulary = ["<pad>", "<s>", "</s>", "<unk>"]
    for line in train:
        vocabulary += [word for word in dict.fromkeys(line.split()) if word not in vocabulary]
    torch.manual_seed(0)
    model = TextVAE(len(vocabulary))
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -1.5, 1.5)
    with torch.no_grad():
        model.encoder.linear.weight[0] *= 0.01  # an inactive unit
    state = model.state_dict()
    torch.save(state, FOLDER / "model.pt")
    np.savez(FOLDER / "model.npz", **{name: array.numpy() for name, array in state.items()})
    noise, iw_noise = map(np.asarray, latent_noise(len(test), SAMPLES, LATENT))
    expected = numbers(state, [ids(vocabulary, line) for line in test], noise, iw_noise)
    np.savez(FOLDER / "expected.npz", noise=noise, iw_noise=iw_noise, **expected)


if __name__ == "__main__":
    main()
