"""The gate before any timing: both frameworks compute the same, and the comparison can tell.

    python -m benchmarks.parity

Same weights, same noise, no dropout: loss, gradients, the parameters after one clipped step, IW-NLL
and greedy sentences must agree to 1e-4 relative; and with an error planted in jvae's copy they must
not.
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
from benchmarks.torch_model import LSTMVAE, by_jvae_names, load
from jvae.distributions import DiagonalGaussian
from jvae.generation import greedy
from jvae.objectives.elbo import latent_keys
from jvae.random import sample_keys
from jvae.training.optimisers import clip_factor, scaled
from jvae.types import Key

TOLERANCE = 1e-4
SAMPLES = 50
CLIP = 5.0


def standard_noise(batch: jvae.Batch, key: Key, samples: int, latent_size: int) -> jax.Array:
    """`[S, B, L]`, the noise that jvae's samplers draw from this key."""
    zeros = jnp.zeros((batch.tokens.shape[0], latent_size))
    keys = sample_keys(latent_keys(key, batch), jnp.arange(samples))
    return jax.vmap(DiagonalGaussian(zeros, zeros).sample)(keys)


def ours(size: Size, tokens: np.ndarray, weights: dict) -> dict[str, Any]:
    """What is compared, from jvae."""
    model, batch, key = make_model(size, 0.0), as_batch(tokens), jax.random.key(7)
    params = jax.tree.map(jnp.asarray, weights)

    def loss(params: dict) -> jax.Array:
        return -jnp.mean(jvae.elbo(model, params, batch, key=key, train=True).elbo)

    value, grads = jax.jit(jax.value_and_grad(loss))(params)
    norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))
    step = scaled(grads, clip_factor(norm, CLIP))
    iw = partial(jvae.iw_log_likelihood, model, num_samples=SAMPLES, chunk_size=SAMPLES)
    z = standard_noise(batch, key, 1, size.latent_size)[0]
    words = jax.jit(partial(greedy, model.decoder, max_length=size.length))(params["decoder"], z)
    return {
        "loss": value,
        "gradients": grads,
        "step": jax.tree.map(jnp.subtract, params, step),
        "iw_nll": -jax.jit(iw)(params, batch, key=key)[0],
        "greedy": words.tokens,
    }


def theirs(size: Size, tokens: np.ndarray, weights: dict, shift: float) -> dict[str, Any]:
    """The same from PyTorch, with jvae's noise (plus `shift`)."""
    batch, key = as_batch(tokens), jax.random.key(7)
    noise = np.array(standard_noise(batch, key, SAMPLES, size.latent_size)) + np.float32(shift)
    model = LSTMVAE(size, 0.0)
    load(model, weights)
    words = torch.from_numpy(tokens).long()
    loss = model.loss(words, torch.from_numpy(noise[0]))
    loss.backward()
    grads = by_jvae_names(model, "grad")
    trained = [p for p in model.parameters() if p.requires_grad]
    torch.nn.utils.clip_grad_norm_(trained, CLIP)
    torch.optim.SGD(trained, lr=1.0).step()
    after = by_jvae_names(model)
    load(model, weights)
    return {
        "loss": loss.item(),
        "gradients": grads,
        "step": after,
        "iw_nll": model.iw_nll(words, torch.from_numpy(noise), SAMPLES).numpy(),
        "greedy": model.greedy(torch.from_numpy(noise[0]), size.length).numpy(),
    }


def relative_errors(a: dict[str, Any], b: dict[str, Any]) -> dict[str, float]:
    """The largest difference of each quantity over its largest entry."""

    def error(x: Any, y: Any) -> float:
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        return float(np.max(np.abs(x - y)) / np.max(np.abs(y)))

    return {
        name: max(jax.tree.leaves(jax.tree.map(error, a[name], b[name])), default=0.0) for name in b
    }


def planted(weights: dict) -> dict[str, tuple[dict, float]]:
    """Errors that must be seen: name -> (weights, shift of the noise)."""

    def with_decoder(**changes: Any) -> dict:
        return weights | {"decoder": weights["decoder"] | changes}

    lstm = weights["decoder"]["lstm"]
    recurrent = lstm | {"recurrent_kernel": 1.01 * lstm["recurrent_kernel"]}
    gates = {"kernel": 0 * weights["decoder"]["latent_to_gates"]["kernel"]}
    return {
        "1 % in a weight": (with_decoder(lstm=recurrent), 0.0),
        "shifted noise": (weights, 0.1),
        "no z in the gates": (with_decoder(latent_to_gates=gates), 0.0),
    }


def check(size: Size) -> dict[str, dict[str, float]]:
    """Errors of the true comparison and of each planted one.

    Raises:
      AssertionError: a quantity differs, or a planted error is not seen in the gradients, in the
        step, or in either of loss and IW-NLL.
    """
    tokens, weights = random_tokens(size, size.batch_size, 5), random_weights(size, 5)
    reference = theirs(size, tokens, weights, 0.0)
    found = {"same": relative_errors(ours(size, tokens, weights), reference)}
    for name, error in found["same"].items():
        assert error < TOLERANCE, f"{name}: jvae and PyTorch differ by {error:.1e}"
    mine = ours(size, tokens, weights)
    for name, (wrong, shift) in planted(weights).items():
        found[name] = relative_errors(mine, theirs(size, tokens, wrong, shift))
        for quantities in (("gradients",), ("step",), ("loss", "iw_nll")):
            error = max(found[name][quantity] for quantity in quantities)
            where = " or ".join(quantities)
            assert error > TOLERANCE, f"planted error {name!r} is not seen in {where}: {error}"
    return found


def main(names: list[str]) -> None:
    """Prints the errors of each size."""
    for name in names or ["captions"]:
        for what, errors in check(SIZES[name]).items():
            figures = "  ".join(f"{quantity} {error:.1e}" for quantity, error in errors.items())
            print(f"parity {name}, {what}: {figures}")


if __name__ == "__main__":
    main(sys.argv[1:])
