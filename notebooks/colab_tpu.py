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
# # jvae on a Colab TPU or GPU
#
# Choose *Runtime, Change runtime type, TPU* (or GPU), then run the cells. The first installs jvae
# with the JAX that fits the machine; on a machine that has jvae already it does nothing. Before you
# run it, put into `REPOSITORY` where jvae is to be had: the address of a repository, or a folder
# that you have uploaded or mounted, as Colab starts in an empty one.

# %%
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = "git+https://..."  # a placeholder: git+https://HOST/OWNER/jvae, or a folder

if importlib.util.find_spec("jvae") is None:
    if Path("/dev/accel0").exists() or Path("/dev/vfio/0").exists():
        extra = "[tpu]"
    elif Path("/dev/nvidia0").exists():
        extra = "[cuda]"
    else:
        extra = ""
    remote = REPOSITORY.startswith("git+")
    if REPOSITORY.endswith("..."):
        raise SystemExit("REPOSITORY is a placeholder: put there where jvae is to be had")
    if not remote and not Path(REPOSITORY, "pyproject.toml").exists():
        raise SystemExit(f"REPOSITORY = {REPOSITORY!r} is no folder with jvae's pyproject.toml")
    wanted = f"jvae{extra} @ {REPOSITORY}" if remote else f"{REPOSITORY}{extra}"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", wanted], check=True)

# %% [markdown]
# What JAX found. Training uses all of it: batches are spread over the devices, parameters are on
# each, and the numbers are those of one device.

# %%
import jax

jax.devices()

# %% [markdown]
# The main job. On an accelerator the model has the size of He et al. (2019) and sees all sentences;
# on a CPU it is cut down to a demonstration. Running the cell again continues where it stopped, so
# that a run directory on a mounted drive survives the end of a session.

# %%
import jvae

if jax.default_backend() == "cpu":
    fields = {
        "training.epochs": 2,
        "training.max_batches": 20,
        "evaluation.iw_samples": 20,
        "evaluation.iw_examples": 50,
        "evaluation.num_examples": 3,
    }
else:
    fields = {
        "data.max_length": 0,
        "data.max_size": 10_000,
        "data.max_buckets": 4,
        "model.latent_size": 32,
        "model.embed_size": 512,
        "model.hidden_size": 1024,
        "training.max_batches": 0,
        "training.batch_size": 128,
        "training.inner_window": 15,
        "training.inner_max_updates": 100,
        "evaluation.iw_examples": 0,
    }
workdir = Path(os.environ.get("JVAE_WORKDIR", "runs/colab"))
run = jvae.train(fields, workdir, experiment="chitchat")

# %%
run.results["verdict"]["text"]

# %% [markdown]
# The curves, and some sentences from the prior.

# %%
from IPython.display import Image

Image(filename=str(workdir / "plots" / "training.png"))

# %%
run.results["shown"]["prior_sampled"]
