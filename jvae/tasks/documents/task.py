"""The task of document models: its configuration, and how it shows a run."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import optax

from jvae.batch import Batch, Counts
from jvae.capabilities import DIAGONAL, LATENT, ONE_VECTOR, POSTERIOR
from jvae.components import Choice, Group, build, default_config
from jvae.configs import option
from jvae.evaluation.metric import Nouns
from jvae.evaluation.settings import EVALUATION
from jvae.model import VAE
from jvae.objectives import Objective, bound_objective, negative_elbo
from jvae.plots import kl_per_dimension, latent_map
from jvae.priors import PRIORS
from jvae.runs.task import Data, Task
from jvae.tasks.documents.data import WordsResources, load
from jvae.tasks.documents.metrics import METRICS, unigram_perplexity
from jvae.tasks.documents.model import bag_decoder, bag_encoder, top_words
from jvae.training.settings import TRAINING
from jvae.types import DType, Schedule

SHOWN_WORDS = 8


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Options of the documents."""

    name: str = option("chitchat", "the corpus", choices=("chitchat", "text"))
    train: str = option("", "file of documents, one a line, or `label index:count ..`", free=True)
    valid: str = option("", "validation file; without it a share of the training file", free=True)
    test: str = option("", "test file, likewise", free=True)
    words: str = option("", "words of a sparse file, one a line, the first with index 1", free=True)
    held_out: float = option(
        0.1, "share of documents held out for each split without a file", above=0
    )
    seed: int = option(0, "seed of holding out", at_least=0)
    stop_words: bool = option(True, "English stop words are left out, of texts")
    min_documents: int = option(5, "rarer words are left out, of texts", above=0)
    max_share: float = option(0.7, "words in a larger share of the documents are left out", above=0)
    max_size: int = option(2000, "words of the vocabulary; 0: all", at_least=0)
    max_buckets: int = option(2, "most padded widths, each a compiled shape", above=0)


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """Options of the network."""

    latent_size: int = option(50, "L, size of z", above=0)
    hidden_size: int = option(500, "units of the encoder's layer", above=0)


@dataclasses.dataclass(frozen=True)
class ObjectiveOptions:
    """Options of the loss."""

    kl_start: float = option(1.0, "the first weight of the KL", at_least=0)
    kl_epochs: float = option(0.0, "epochs in which it rises to 1", at_least=0)
    num_samples: int = option(1, "samples of z for each document and update", above=0)


MODEL = Group(
    "model",
    ModelOptions,
    (
        Choice(
            "prior",
            {name: PRIORS[name] for name in ("standard_normal", "mixture")},
            "standard_normal",
            "p(z)",
        ),
    ),
    gives=frozenset({LATENT, POSTERIOR, ONE_VECTOR, DIAGONAL}),
)
GROUPS = (
    Group("data", DataOptions),
    MODEL,
    Group("objective", ObjectiveOptions),
    TRAINING,
    EVALUATION,
)


def documents_config() -> Any:
    """Makes the configuration of all fields with their defaults."""
    return default_config(GROUPS)


def make_model(config: Any, words: tuple[str, ...], dtype: DType) -> VAE:
    """Builds NVDM."""
    options = config.model
    shared = SimpleNamespace(latent_size=options.latent_size, dtype=dtype)
    encoder = bag_encoder(
        vocab_size=len(words),
        latent_size=options.latent_size,
        hidden_size=options.hidden_size,
        dtype=dtype,
    )
    decoder = bag_decoder(vocab_size=len(words), dtype=dtype)
    return VAE(encoder, decoder, build(MODEL, "prior", config, shared))


def example(config: Any, words: tuple[str, ...]) -> Batch:
    """Makes the smallest batch."""
    x = Counts(jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1)))
    return Batch(x, None, jnp.zeros(1, jnp.int32), jnp.ones(1))


def make_objective(config: Any, model: VAE, words: Any, dtype: DType) -> Objective:
    """Makes the negative ELBO with a weighted KL."""
    return bound_objective(model, negative_elbo, num_samples=config.objective.num_samples)


def make_schedules(config: Any, steps_per_epoch: int) -> Mapping[str, Schedule]:
    """Makes the schedule of the KL weight."""
    options = config.objective
    steps = round(options.kl_epochs * steps_per_epoch)
    if not steps:
        return {"kl_weight": optax.constant_schedule(1.0)}
    return {"kl_weight": optax.linear_schedule(options.kl_start, 1.0, steps)}


def show(
    run: Any,
    data: Data,
    split: str,
    results: Mapping[str, Any],
    terms: Any,
    console: Any,
    folder: Path,
) -> dict[str, Any]:
    """Prints the unigram baseline and the words of each dimension; see `jvae.runs.task.Show`."""
    words = run.resources
    corpus, document = unigram_perplexity(data.splits["train"], data.splits[split], len(words))

    def line(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    line(f"unigram: PPL {corpus:.2f} of the corpus, {document:.2f} per document")
    dimensions = top_words(run.params["decoder"], words, SHOWN_WORDS)
    order = jnp.argsort(-jnp.asarray(results["mean_variance_per_dim"])).tolist()
    line("\nwords that each dimension makes likelier | rarer, the most used dimensions first")
    for number in order[: run.config.evaluation.num_examples]:
        more, fewer = dimensions[number]
        line(f"  {number:3}  {' '.join(more)}  |  {' '.join(fewer)}")
    kl_per_dimension(results["kl_per_dim"], folder / "kl_per_dimension.png")
    classes = data.source.bags[split].classes
    latent_map(terms.mean, folder / "latent_map.png", classes if any(classes) else None)
    return {
        "unigram_ppl": corpus,
        "unigram_ppl_document": document,
        "top_words": [{"likelier": more, "rarer": fewer} for more, fewer in dimensions],
    }


DOCUMENTS = Task(
    name="documents",
    nouns=Nouns("document", "word"),
    groups=GROUPS,
    load=load,
    resources=WordsResources(),
    build=make_model,
    example=example,
    objective=make_objective,
    schedules=make_schedules,
    score=lambda config, metrics: float(metrics["elbo"]),
    metrics=METRICS,
    show=show,
    outputs=len,
)
