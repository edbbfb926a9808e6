"""`import jvae` is light, and its public names are all there."""

import json
import subprocess
import sys

import jvae

HEAVY = [
    "matplotlib",
    "tensorflow",
    "tensorflow_datasets",
    "tensorboardX",
    "orbax",
    "numpyro",
    "rich",
    "tokenizers",
    "array_record",
    "grain",
    "ml_collections",
    "sklearn",
]
# Flax itself imports rich, for its table of a module's layers: what counts is what jvae adds.
PROGRAM = f"""
import json, sys
import flax.linen, jax, numpy, optax
before = set(sys.modules)
import jvae
print(json.dumps(sorted(name for name in {HEAVY} if name in sys.modules and name not in before)))
print(json.dumps(sorted(name for name in {HEAVY} if name in before)))
"""


def test_importing_jvae_opens_no_plots_corpora_or_logs():
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120
    )
    added, before = map(json.loads, result.stdout.splitlines())
    assert added == []
    assert set(before) <= {"rich"}


def test_all_names_exist_and_all_public_names_are_listed():
    assert len(set(jvae.__all__)) == len(jvae.__all__)
    for name in jvae.__all__:
        assert getattr(jvae, name) is not None
    public = {
        name
        for name, value in vars(jvae).items()
        if not name.startswith("_") and getattr(value, "__module__", None)
    }
    assert public == set(jvae.__all__)
