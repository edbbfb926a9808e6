"""Shared by all tests: four emulated devices, a compilation cache, and a tiny model."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# Before JAX starts: parallel code is tested on four emulated CPU devices, and tiny programs are
# compiled fast rather than well: without the fusion emitters, and in one piece, a tiny run takes
# half as long (19 CPU seconds for 37).
FLAGS = (
    "--xla_force_host_platform_device_count=4",
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)


def accepted_flags() -> str:
    """Returns those of `FLAGS` that the installed jaxlib knows; any other would end this process.

    A child process asks: XLA names all that it does not know, and aborts.
    """
    asked = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"],
        env=os.environ | {"XLA_FLAGS": " ".join(FLAGS)},
        capture_output=True,
        text=True,
    )
    if asked.returncode == 0:
        return " ".join(FLAGS)
    unknown = re.search(r"Unknown flags? in XLA_FLAGS:(.*)", asked.stderr)
    if unknown is None:
        raise RuntimeError(f"JAX does not start with {FLAGS}:\n{asked.stderr}")
    return " ".join(flag for flag in FLAGS if flag not in unknown[1].split())


os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "XLA_FLAGS" not in os.environ:  # pytest-xdist's workers inherit what the controller sets
    os.environ["XLA_FLAGS"] = accepted_flags()
CACHE = Path(tempfile.gettempdir()) / f"jvae-tests-{os.getuid()}"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE / "xla"))
# All programs are kept: those of a tenth of a second are many, and subprocesses load them again.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JVAE_CACHE_DIR", str(CACHE / "data"))

import jax
import numpy as np
import pytest

import jvae
from jvae.batch import BOS, EOS, Batch

pytest_plugins = ["tests.compilations", "tests.runs_fixture"]
VOCAB, LATENT = 12, 3


def make_model(vocab_size: int = VOCAB, latent_size: int = LATENT, **options) -> jvae.VAE:
    """A tiny LSTM VAE with weights large enough to matter."""
    sizes = {
        "vocab_size": vocab_size,
        "latent_size": latent_size,
        "embed_size": 5,
        "hidden_size": 7,
        "init_scale": 0.5,
        "embed_init_scale": 0.5,
    }
    return jvae.VAE(
        jvae.lstm_encoder(**sizes),
        jvae.lstm_decoder(**sizes, **options),
        jvae.standard_normal(latent_size=latent_size),
    )


def make_sentences(
    number: int, width: int, *, seed: int = 0, vocab_size: int = VOCAB
) -> tuple[np.ndarray, np.ndarray]:
    """Random padded sentences of 2 to `width` predicted tokens: `[N, width + 1]` and `[N]`."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, width + 1, number).astype(np.int32)
    tokens = rng.integers(4, vocab_size, (number, width + 1)).astype(np.int32)
    positions = np.arange(width + 1)
    tokens = np.where(positions < lengths[:, None], tokens, 0)
    tokens[:, 0] = BOS
    tokens[np.arange(number), lengths] = EOS
    return tokens, lengths


def make_batch(number: int = 6, width: int = 8, *, seed: int = 0) -> Batch:
    """A batch of random sentences."""
    tokens, lengths = make_sentences(number, width, seed=seed)
    return jvae.text_batch(tokens, lengths)


@pytest.fixture
def key() -> jax.Array:
    """A root key."""
    return jax.random.key(0)
