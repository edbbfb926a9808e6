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
# Trains a small VAE on chat lines, with a KL held by soft free bits, looks at whether the
# latent variable is used, and plays with it. A few minutes on two CPU cores; on Colab run the
# install cell first and choose a GPU or TPU for more.

# %%
# On Colab: %pip install "jvae[tpu] @ git+<the repository>"  (or [cuda], or nothing for a CPU)
import jvae

# %% [markdown]
# The configuration is that of `python -m jvae.experiments.chitchat`, cut down here to a short demo.
# For the full quick run leave out the fields and name another folder.

# %%
fields = {
    "training.epochs": 3,
    "training.max_batches": 40,
    "evaluation.iw_samples": 20,
    "evaluation.iw_examples": 100,
    "evaluation.num_examples": 4,
}
run = jvae.train(fields, "runs/notebook", experiment="chitchat")

# %% [markdown]
# The verdict in words, and the metrics it rests on. After so short a run expect little: run the
# cell again with more epochs and the same folder, and training goes on where it stopped.

# %%
run.results["verdict"]["text"]

# %% [markdown]
# The run directory holds everything: `jvae.load_run` reads it again, in another process too.

# %%
run = jvae.load_run("runs/notebook")
run.sample(5, temperature=0.8)

# %%
mine = ["how are you doing today ?", "i have to go to work now ."]
run.reconstruct(mine)

# %%
run.interpolate(*mine, steps=5, path="spherical")

# %%
run.encode(mine).shape
