# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A first text VAE
#
# Trains a small VAE on chat lines with aggressive inference-network updates, looks at whether the
# latent variable is used, and plays with it. A few minutes on two CPU cores; on Colab run the
# install cell first and choose a GPU or TPU for more.

# %%
# On Colab: %pip install "jvae[tpu] @ git+<the repository>"  (or [cuda], or nothing for a CPU)
from pathlib import Path

from rich.console import Console

from jvae.experiments import chitchat
from jvae.experiments.runner import run

# %% [markdown]
# The configuration is that of `python -m jvae.experiments.chitchat`, cut down here to a short demo.
# For the full quick run remove the overrides and name another folder.

# %%
config = chitchat.get_config()
config.training.update({"epochs": 3, "max_batches": 40})
config.evaluation.update({"iw_samples": 20, "iw_sentences": 100, "num_examples": 4})
results = run(config, Path("runs/notebook"), Console(width=100))

# %% [markdown]
# The verdict in words, and the figures it rests on. After so short a run expect little: run the
# cell again with more epochs and the same folder, and training goes on where it stopped.

# %%
results["verdict"]["text"]

# %% [markdown]
# The run directory holds everything; loading it gives pure functions and parameters.

# %%
import jax

from jvae.experiments.setup import load_run
from jvae.experiments.use import Decoding, encode, interpolate, reconstruct, sample_prior

trained = load_run(Path("runs/notebook"))
key = jax.random.key(0)
sample_prior(trained, 5, Decoding(strategy="sample", temperature=0.8), key=key)

# %%
mine = ["how are you doing today ?", "i have to go to work now ."]
reconstruct(trained, mine, Decoding(), key=key)

# %%
interpolate(trained, *mine, 5, Decoding(), key=key, path="spherical")

# %%
encode(trained, mine, key=key).mean.shape
