"""The gate before any timing: what is timed of both computes the same, and the comparison can tell.

    python -m benchmarks.parity captions captions_cnn captions/bfloat16

Same weights, same noise, no dropout. Both `Training` classes that are timed make one joint step of
full sentences (`joint`, and its `loss`), and the LSTM's one round of inner updates and an outer one
(`inner`); jvae's makes another joint step of a padded batch with a row that only pads it, against
PyTorch sentence by sentence (`ragged`). Of a step every array's change is compared. IW-NLL in
chunks, greedy sentences (not the CNN's) and those of beam search (the LSTM's) follow. All must
agree to 1e-4 relative, the round of four updates to 1e-3; and with an error planted on PyTorch's
side they must not.

In bfloat16 only the joint step is compared: evaluation stays in float32 in both. They cannot agree
to better than the rounding, 2^-9 of each factor, adds up to, and PyTorch rounds more (results as
well as factors): measured 5e-5 in the loss and 0.04 in the worst array of gradients, hence 1e-3 and
0.1. Both must differ from float32, too.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

import jvae
from benchmarks import device as devices
from benchmarks import jvae_cases as of
from benchmarks import torch_cases as th
from benchmarks.building import make_model
from benchmarks.planted import wrong_weights
from benchmarks.sizes import SIZES, Size, random_tokens, random_weights
from benchmarks.torch_model import TextVAE, load, read
from jvae.batch import EOS, PAD
from jvae.distributions import DiagonalGaussian
from jvae.generation import beam_search, greedy
from jvae.objectives.elbo import latent_keys
from jvae.random import Stream, sample_keys, stream
from jvae.training.steps import DevicePlan, inner_row
from jvae.types import Key

QUANTITIES = ("loss", "joint", "ragged", "inner", "iw_nll", "greedy", "beam")
TOLERANCES = {
    "float32": dict.fromkeys(QUANTITIES, 1e-4) | {"inner": 1e-3},
    "bfloat16": {"loss": 1e-3, "joint": 0.1},
}
SENTENCES, SAMPLES, CHUNK = 4, 50, 25  # few: a rectifier at zero may fall to either side
INNER, BEAM = 3, 10
# Of several steps each makes the next one start further from the other framework's (at H 1024 and
# rate 1 they differ by 6e-2 after four), hence short ones.
RATE, INNER_RATE = 1.0, 0.1
FULL_ROWS = 2  # batches of full sentences, of which the inner updates draw theirs
ROOT = 0  # the key of `jvae_cases.Training`


class Data(NamedTuple):
    """`FULL_ROWS` batches of full sentences and a ragged one, whose last row only pads it."""

    tokens: np.ndarray
    lengths: np.ndarray
    weights: dict


def make_data(size: Size) -> Data:
    """Sentences, and weights with which some of them end early when decoded."""
    tokens = random_tokens(size, (FULL_ROWS + 1) * SENTENCES, 5)
    lengths = np.full(len(tokens), size.length, np.int32)
    lengths[-3:] = size.length - 1, size.length // 2, 2
    steps = np.arange(tokens.shape[1])
    tokens[steps == lengths[:, None]] = EOS
    tokens[steps > lengths[:, None]] = PAD
    weights = random_weights(size, 5)
    weights["decoder"]["output_kernel"][:, EOS] *= 3
    return Data(tokens, lengths, weights)


def batch_of(data: Data, row: int) -> jvae.Batch:
    """A batch by its number in the plan."""
    index = np.arange(row * SENTENCES, (row + 1) * SENTENCES)
    batch = jvae.text_batch(data.tokens[index], data.lengths[index])
    return batch.replace(index=jnp.asarray(index))


def standard_noise(batch: jvae.Batch, key: Key, samples: int, latent_size: int) -> np.ndarray:
    """`[S, B, L]`, the noise that jvae's samplers draw from this key."""
    zeros = jnp.zeros((batch.rows, latent_size))
    keys = sample_keys(latent_keys(key, batch), jnp.arange(samples))
    return np.array(jax.vmap(DiagonalGaussian(zeros, zeros).sample)(keys))


def change(before: dict, after: dict) -> dict:
    """What a step did to the parameters."""
    return jax.tree.map(np.subtract, after, before)


def our_training(size: Size, data: Data, inner: int, rows: int, precision: str) -> of.Training:
    """The timed function (its corpus is full sentences), given this data's rows."""
    full = np.full(len(data.tokens), size.length, np.int32)
    loop = of.inner_loop(inner) if inner else None
    training = of.Training(size, data.weights, data.tokens, full, loop, precision)
    index = jnp.arange(rows * SENTENCES).reshape(rows, SENTENCES)
    weight = jnp.ones(index.shape).at[FULL_ROWS:, -1].set(0.0)
    training.data = training.on_device(data.tokens, data.lengths)
    training.plan = DevicePlan(jnp.zeros(rows, jnp.int32), index, weight)
    training.row = 0
    return training


def ours(size: Size, data: Data, precision: str) -> dict[str, Any]:
    """What is compared, from jvae."""

    def parameters() -> dict:
        return jax.tree.map(np.array, training.state.params)

    training = our_training(size, data, 0, FULL_ROWS + 1, precision)
    before = parameters()
    training.run()
    totals = training.state.totals
    found = {"loss": float(totals.loss / totals.rows), "joint": change(before, parameters())}
    if precision == "bfloat16":
        return found
    training = our_training(size, data, 0, FULL_ROWS + 1, precision)
    training.row = FULL_ROWS
    training.run()
    found["ragged"] = change(before, parameters())
    if size.decoder == "lstm":
        slow = size._replace(learning_rate=INNER_RATE)
        training = our_training(slow, data, INNER, FULL_ROWS, precision)
        training.run()
        found["inner"] = change(before, parameters())

    model, batch, key = make_model(size, 0.0), batch_of(data, 0), jax.random.key(7)
    params = jax.tree.map(jnp.asarray, data.weights)
    iw = partial(jvae.iw_log_likelihood, model, num_samples=SAMPLES, chunk_size=CHUNK)
    found["iw_nll"] = -jax.jit(iw)(params, batch, key=key)[0]
    z = standard_noise(batch, key, 1, size.latent_size)[0]
    options = {"max_length": size.length}
    if size.decoder != "cnn":
        words = jax.jit(partial(greedy, model.decoder, **options))
        found["greedy"] = words(params["decoder"], z).tokens
    if size.decoder == "lstm":
        words = jax.jit(partial(beam_search, model.decoder, **options, beam_size=BEAM))
        found["beam"] = words(params["decoder"], z).tokens
    return found


class Theirs:
    """The same from PyTorch, with jvae's noise (plus `shift`)."""

    def __init__(self, size: Size, data: Data, device: str, precision: str, shift: float = 0.0):
        self.size, self.data, self.device, self.precision = size, data, device, precision
        self.shift = np.float32(shift)

    def _noise(self, row: int, key: Key, samples: int = 1) -> torch.Tensor:
        noise = standard_noise(batch_of(self.data, row), key, samples, self.size.latent_size)
        return torch.from_numpy(noise + self.shift).to(self.device)

    def _training(self, *noises: torch.Tensor, rate: float = RATE) -> th.Training:
        given = iter(noises)
        return th.Training(
            self.size._replace(learning_rate=rate),
            self.data.weights,
            self.device,
            self.precision,
            noise=lambda *_: next(given)[0],
        )

    def _words(self, row: int) -> torch.Tensor:
        rows = slice(row * SENTENCES, (row + 1) * SENTENCES)
        return th.on_device(self.data.tokens[rows], self.device)

    def joint(self) -> dict[str, Any]:
        """A joint step of full sentences, and in float32 one of ragged ones, each by itself."""
        key = stream(jax.random.key(ROOT), Stream.TRAINING, 0)
        training = self._training(self._noise(0, key))
        before = read(training.model)
        loss = training.joint(self._words(0)).item()
        found = {"loss": loss, "joint": change(before, read(training.model))}
        if self.precision == "bfloat16":
            return found
        # From the first weights: after a step those of both differ, and a second one adds to it.
        training = self._training()
        words, noise = self._words(FULL_ROWS), self._noise(FULL_ROWS, key)[0]
        lengths = self.data.lengths[-SENTENCES:]
        for i in range(SENTENCES - 1):
            sentence = words[i : i + 1, : lengths[i] + 1]
            loss = training.model.loss(sentence, noise[i : i + 1])
            (loss / (SENTENCES - 1)).backward()
        trained = training.encoder + training.decoder
        torch.nn.utils.clip_grad_norm_(trained, th.CLIP)
        torch.optim.SGD(trained, lr=self.size.learning_rate).step()
        return found | {"ragged": change(before, read(training.model))}

    def inner(
        self, *, loss: Callable[..., torch.Tensor] = TextVAE.loss, full: bool = False
    ) -> dict[str, Any]:
        """A round of inner updates, of this loss, and one outer."""
        key = stream(jax.random.key(ROOT), Stream.TRAINING, 0)
        rows = [int(inner_row(key, jnp.int32(i), jnp.int32(0), FULL_ROWS)) for i in range(INNER)]
        keys = [stream(key, Stream.INNER_LOOP, i) for i in range(INNER)]
        noises = [self._noise(*of_update) for of_update in zip(rows, keys, strict=True)]
        training = self._training(*noises, self._noise(0, key), rate=INNER_RATE)
        before = read(training.model)
        training.model.loss = partial(loss, training.model)
        training.inner([self._words(row) for row in rows], full=full)
        training.model.loss = partial(TextVAE.loss, training.model)
        training.decoder_only(self._words(0))
        return {"inner": change(before, read(training.model))}

    def evaluated(self) -> dict[str, Any]:
        """IW-NLL and sentences."""
        model, decoder = TextVAE(self.size, 0.0).eval(), self.size.decoder
        load(model, self.data.weights)
        model.to(self.device)
        noise = self._noise(0, jax.random.key(7), SAMPLES)
        found = {"iw_nll": model.iw_nll(self._words(0), noise, CHUNK).cpu().numpy()}
        if decoder != "cnn":
            found["greedy"] = model.greedy(noise[0], self.size.length).cpu().numpy()
        if decoder == "lstm":
            found["beam"] = model.beam(noise[0], self.size.length, BEAM).cpu().numpy()
        return found

    def all(self) -> dict[str, Any]:
        """Everything that is compared."""
        if self.precision == "bfloat16":
            return self.joint()
        inner = self.inner() if self.size.decoder == "lstm" else {}
        return self.joint() | inner | self.evaluated()


def reconstruction(model: TextVAE, tokens: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The loss without its KL."""
    mean, log_var = model.encoder(tokens)
    return -model.decoder(mean + noise * torch.exp(0.5 * log_var), tokens).mean()


def planted(
    size: Size, data: Data, device: str, precision: str
) -> dict[str, tuple[dict[str, Any], list[tuple[str, ...]]]]:
    """Errors: name -> (PyTorch's results, groups of quantities; of each one must show it)."""
    share = 0.01 if precision == "float32" else 0.1  # bfloat16 rounds by up to 0.004
    results = {"shifted noise": Theirs(size, data, device, precision, shift=0.1).all()}
    for name, weights in wrong_weights(data.weights, share).items():
        results[name] = Theirs(size, data._replace(weights=weights), device, precision).all()
    steps = [name for name in ("joint", "ragged", "inner") if name in results["shifted noise"]]
    everywhere = [(name,) for name in steps] + [("loss", "iw_nll")] * (len(steps) > 1)
    found = {name: (result, everywhere) for name, result in results.items()}
    if precision == "float32":
        unpadded = data._replace(lengths=np.full_like(data.lengths, size.length))
        padding = Theirs(size, unpadded, device, precision).joint()
        found["padding read as words"] = {"ragged": padding["ragged"]}, [("ragged",)]
    if "inner" in steps:
        right = Theirs(size, data, device, precision)
        found["inner updates without the KL"] = right.inner(loss=reconstruction), [("inner",)]
        found["inner updates clipped jointly"] = right.inner(full=True), [("inner",)]
    return found


def relative_errors(a: dict[str, Any], b: dict[str, Any]) -> dict[str, float]:
    """The norm of each quantity's difference over its norm, of its worst array."""

    def error(x: Any, y: Any) -> float:
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        return float(np.linalg.norm(x - y) / np.linalg.norm(y))

    return {name: max(jax.tree.leaves(jax.tree.map(error, a[name], b[name]))) for name in b}


def check(
    size: Size, precision: str = "float32", device: str = "cpu"
) -> dict[str, dict[str, float]]:
    """Errors of the true comparison and of each planted one.

    Raises:
      AssertionError: a quantity differs, or a planted error is not seen: in each kind of step and
        in either of loss and IW-NLL, or where alone it can be.
    """
    size = size._replace(batch_size=SENTENCES, dropout=0.0, learning_rate=RATE)
    data, tolerances = make_data(size), TOLERANCES[precision]
    mine = ours(size, data, precision)
    reference = Theirs(size, data, device, precision).all()
    assert mine.keys() == reference.keys()
    found = {"same": relative_errors(mine, reference)}
    for name, error in found["same"].items():
        assert error < tolerances[name], f"{name}: jvae and PyTorch differ by {error:.1e}"
    if precision == "bfloat16":
        exact = Theirs(size, data, device, "float32").joint()
        for who, result in (("jvae", mine), ("PyTorch", reference)):
            error = relative_errors(exact, {"joint": result["joint"]})["joint"]
            assert error > 1e-3, f"{who} rounds nothing: {error:.1e} from float32"
    for name, (wrong, groups) in planted(size, data, device, precision).items():
        found[name] = relative_errors(mine, wrong)
        for quantities in groups:
            seen = any(found[name][quantity] > tolerances[quantity] for quantity in quantities)
            where = " or ".join(quantities)
            assert seen, f"planted error {name!r} is not seen in {where}: {found[name]}"
    return found


def main() -> None:
    """Prints the errors of each model, `SIZE` or `SIZE/PRECISION`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("models", nargs="*", default=["captions"])
    parser.add_argument("--device", choices=devices.DEVICES, default="cpu")
    options = parser.parse_args()
    for framework in ("jvae", "torch"):
        devices.use(framework, options.device, tf32=False)
    for model in options.models:
        name, _, precision = model.partition("/")
        found = check(SIZES[name], precision or "float32", options.device)
        for what, errors in found.items():
            figures = "  ".join(f"{quantity} {error:.1e}" for quantity, error in errors.items())
            print(f"parity {model}, {what}: {figures}")


if __name__ == "__main__":
    main()
