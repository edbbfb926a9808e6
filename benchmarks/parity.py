"""The gate before any timing: both frameworks compute the same, and the comparison can tell.

    python -m benchmarks.parity captions captions_cnn captions/bfloat16

Same weights, same noise, no dropout: loss, gradients, the parameters after one clipped step, IW-NLL
and greedy sentences (not the CNN's) must agree to 1e-4 relative; and with an error planted in
PyTorch's copy they must not.

In bfloat16 only loss and gradients are compared: evaluation stays in float32 in both, and so does
what makes a step of gradients. They cannot agree to better than the rounding, 2^-9 of each factor,
adds up to, and PyTorch rounds more (results as well as factors): measured 5e-5 in the loss and 0.04
in the worst array of gradients, hence 1e-3 and 0.1. Both must differ from float32, too.
"""

import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import jvae
from benchmarks.jvae_cases import as_batch, make_model
from benchmarks.sizes import SIZES, Size, random_tokens, random_weights
from benchmarks.torch_cases import rounding
from benchmarks.torch_model import TextVAE, load, read
from jvae.distributions import DiagonalGaussian
from jvae.generation import greedy
from jvae.objectives.elbo import latent_keys
from jvae.random import sample_keys
from jvae.training.optimisers import clip_factor, scaled
from jvae.types import Key

TOLERANCES = {
    "float32": dict.fromkeys(("loss", "gradients", "step", "iw_nll", "greedy"), 1e-4),
    "bfloat16": {"loss": 1e-3, "gradients": 0.1},
}
SENTENCES, SAMPLES = 4, 50  # few: a rectifier at zero may fall to either side
CLIP = 5.0


def standard_noise(batch: jvae.Batch, key: Key, samples: int, latent_size: int) -> jax.Array:
    """`[S, B, L]`, the noise that jvae's samplers draw from this key."""
    zeros = jnp.zeros((batch.tokens.shape[0], latent_size))
    keys = sample_keys(latent_keys(key, batch), jnp.arange(samples))
    return jax.vmap(DiagonalGaussian(zeros, zeros).sample)(keys)


def ours(size: Size, tokens: np.ndarray, weights: dict, precision: str) -> dict[str, Any]:
    """What is compared, from jvae."""
    model, batch, key = make_model(size, 0.0, precision), as_batch(tokens), jax.random.key(7)
    params = jax.tree.map(jnp.asarray, weights)

    def loss(params: dict) -> jax.Array:
        return -jnp.mean(jvae.elbo(model, params, batch, key=key, train=True).elbo)

    value, grads = jax.jit(jax.value_and_grad(loss))(params)
    found = {"loss": value, "gradients": grads}
    if precision == "bfloat16":
        return found
    norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))
    found["step"] = jax.tree.map(jnp.subtract, params, scaled(grads, clip_factor(norm, CLIP)))
    iw = partial(jvae.iw_log_likelihood, model, num_samples=SAMPLES, chunk_size=SAMPLES)
    found["iw_nll"] = -jax.jit(iw)(params, batch, key=key)[0]
    if size.decoder != "cnn":
        z = standard_noise(batch, key, 1, size.latent_size)[0]
        words = jax.jit(partial(greedy, model.decoder, max_length=size.length))
        found["greedy"] = words(params["decoder"], z).tokens
    return found


def theirs(
    size: Size, tokens: np.ndarray, weights: dict, shift: float, precision: str
) -> dict[str, Any]:
    """The same from PyTorch, with jvae's noise (plus `shift`)."""
    batch, key = as_batch(tokens), jax.random.key(7)
    noise = np.array(standard_noise(batch, key, SAMPLES, size.latent_size)) + np.float32(shift)
    model = TextVAE(size, 0.0)
    load(model, weights)
    words = torch.from_numpy(tokens).long()
    with rounding(precision):
        loss = model.loss(words, torch.from_numpy(noise[0]))
    loss.backward()
    found = {"loss": loss.item(), "gradients": read(model, "grad")}
    if precision == "bfloat16":
        return found
    trained = [p for p in model.parameters() if p.requires_grad]
    torch.nn.utils.clip_grad_norm_(trained, CLIP)
    torch.optim.SGD(trained, lr=1.0).step()
    found["step"] = read(model)
    load(model, weights)
    found["iw_nll"] = model.iw_nll(words, torch.from_numpy(noise), SAMPLES).numpy()
    if size.decoder != "cnn":
        found["greedy"] = model.greedy(torch.from_numpy(noise[0]), size.length).numpy()
    return found


def relative_errors(a: dict[str, Any], b: dict[str, Any]) -> dict[str, float]:
    """The norm of each quantity's difference over its norm, of its worst array."""

    def error(x: Any, y: Any) -> float:
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        return float(np.linalg.norm(x - y) / np.linalg.norm(y))

    assert a.keys() == b.keys()
    return {name: max(jax.tree.leaves(jax.tree.map(error, a[name], b[name]))) for name in b}


def planted(weights: dict, precision: str) -> dict[str, tuple[dict, float]]:
    """Errors that must be seen: name -> (weights, shift of the noise)."""
    decoder = weights["decoder"]

    def with_decoder(**changes: Any) -> tuple[dict, float]:
        return weights | {"decoder": decoder | changes}, 0.0

    share = 0.01 if precision == "float32" else 0.1  # bfloat16 rounds by up to 0.004
    errors = {"shifted noise": (weights, 0.1)}
    if "lstm" in decoder:
        lstm = decoder["lstm"]
        wrong = lstm | {"recurrent_kernel": (1 + share) * lstm["recurrent_kernel"]}
        gates = {"kernel": 0 * decoder["latent_to_gates"]["kernel"]}
        errors[f"{share:.0%} in a weight"] = with_decoder(lstm=wrong)
        errors["no z in the gates"] = with_decoder(latent_to_gates=gates)
        return errors
    if "transformer" in decoder:
        transformer = decoder["transformer"]
        block = transformer["blocks_1"]

        def with_block(**changes: Any) -> tuple[dict, float]:
            return with_decoder(transformer=transformer | {"blocks_1": block | changes})

        def with_input(kernel: np.ndarray) -> tuple[dict, float]:
            return with_block(
                self_attention=block["self_attention"] | {"input": {"kernel": kernel}}
            )

        kernel, z = block["self_attention"]["input"]["kernel"], block["latent"]["kernel"]
        errors[f"{share:.0%} in a weight"] = with_input((1 + share) * kernel)
        errors["values first"] = with_input(np.roll(kernel, len(kernel), axis=1))
        errors["no z in a block"] = with_block(latent={"kernel": 0 * z})
        return errors
    block, z = decoder["blocks_1"], {"kernel": 0 * decoder["latent_to_input"]["kernel"]}

    def with_filter(kernel: np.ndarray) -> tuple[dict, float]:
        return with_decoder(blocks_1=block | {"filter": block["filter"] | {"kernel": kernel}})

    kernel = block["filter"]["kernel"]
    errors[f"{share:.0%} in a weight"] = with_filter((1 + share) * kernel)
    errors["taps in another order"] = with_filter(np.roll(kernel, kernel.shape[1], axis=0))
    errors["no z in the input"] = with_decoder(latent_to_input=z)
    return errors


def check(size: Size, precision: str = "float32") -> dict[str, dict[str, float]]:
    """Errors of the true comparison and of each planted one.

    Raises:
      AssertionError: a quantity differs, or a planted error is not seen in the gradients, in the
        step, or in either of loss and IW-NLL; in bfloat16, not in the gradients.
    """
    tokens, weights = random_tokens(size, SENTENCES, 5), random_weights(size, 5)
    tolerances = TOLERANCES[precision]
    mine = ours(size, tokens, weights, precision)
    reference = theirs(size, tokens, weights, 0.0, precision)
    found = {"same": relative_errors(mine, reference)}
    for name, error in found["same"].items():
        assert error < tolerances[name], f"{name}: jvae and PyTorch differ by {error:.1e}"
    seen_in = [("gradients",), ("step",), ("loss", "iw_nll")]
    if precision == "bfloat16":
        exact = theirs(size, tokens, weights, 0.0, "float32")
        exact = {name: exact[name] for name in reference}
        for who, result in (("jvae", mine), ("PyTorch", reference)):
            error = relative_errors(result, exact)["gradients"]
            assert error > 1e-3, f"{who} rounds nothing: {error:.1e} from float32"
        seen_in = [("gradients",)]
    for name, (wrong, shift) in planted(weights, precision).items():
        found[name] = relative_errors(mine, theirs(size, tokens, wrong, shift, precision))
        for quantities in seen_in:
            seen = any(found[name][quantity] > tolerances[quantity] for quantity in quantities)
            where = " or ".join(quantities)
            assert seen, f"planted error {name!r} is not seen in {where}: {found[name]}"
    return found


def main(models: list[str]) -> None:
    """Prints the errors of each model, `SIZE` or `SIZE/PRECISION`."""
    for model in models or ["captions"]:
        name, _, precision = model.partition("/")
        for what, errors in check(SIZES[name], precision or "float32").items():
            figures = "  ".join(f"{quantity} {error:.1e}" for quantity, error in errors.items())
            print(f"parity {model}, {what}: {figures}")


if __name__ == "__main__":
    main(sys.argv[1:])
