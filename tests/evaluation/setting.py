"""A VAE without networks: its posteriors stand in a table, its likelihood is a function of z."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jvae
from jvae.batch import Tokens
from jvae.data.split import Split
from jvae.evaluation.evaluate import evaluate
from jvae.evaluation.evidence import Evidence
from jvae.evaluation.functions import Functions, SplitBatches
from jvae.evaluation.metric import Nouns
from jvae.evaluation.metrics import VAE_METRICS
from jvae.evaluation.settings import EvaluationSettings
from tests.conftest import make_sentences

NOUNS = Nouns("sentence", "token", "</s> counted", "language model")


def table_model(
    posterior: Callable[..., Any], log_likelihood: Callable[..., Any], prior: jvae.Prior
) -> jvae.VAE:
    """Makes a model of `(table, index [B]) -> posterior` and `z -> [B]`; it cannot decode."""
    return jvae.VAE(
        jvae.Encoder(
            init=lambda key, batch, context: {},
            apply=lambda table, batch, context, *, key, train: posterior(table, batch.index),
        ),
        jvae.Decoder(
            init=lambda key, z, batch, context: {},
            log_prob=lambda params, z, batch, context, *, key, train: log_likelihood(z),
        ),
        prior,
    )


def sentences(number: int, width: int = 5, batch_size: int = 64) -> SplitBatches:
    """Random sentences, in batches of one width."""
    tokens = Tokens(*make_sentences(number, width))
    return SplitBatches(Split(tokens, tokens.lengths), (width,), batch_size)


def evidence_of(
    functions: Functions, table: Any, split: SplitBatches, key: jax.Array, **options: Any
) -> Evidence:
    """Evidence of a `table_model`; `options` are of the settings, and `lean`."""
    params = {"encoder": jax.tree.map(jnp.float32, table), "decoder": {}, "prior": {}}
    lean = options.pop("lean", False)
    settings = EvaluationSettings(**options)
    return Evidence(functions, params, split, key, settings, NOUNS, lean=lean)


def results_of(evidence: Evidence) -> dict[str, Any]:
    """All numbers."""
    return evaluate(VAE_METRICS, evidence)


def points(number: int, size: int, seed: int = 0) -> np.ndarray:
    """Random means."""
    return np.random.default_rng(seed).normal(size=(number, size))
