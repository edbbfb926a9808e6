"""The configuration of text runs: groups of fields, and what goes together."""

import dataclasses
from typing import TYPE_CHECKING

from jvae import components
from jvae.capabilities import (
    ANY_DENSITY,
    DENOISING_ATTENTION,
    ELBO_BOUND,
    FIXED_PRIOR,
    JOINT_UPDATES,
    KL_BY_NAME,
    LAST_WEIGHT_ONE,
    LATENT,
    MIXTURES,
    NO_HEAD,
    NO_LATENT,
    ONE_FUNCTION,
    ONE_VECTOR,
    PLAIN_GRADIENT,
    PLAIN_POSTERIORS,
    POSTERIOR,
    RAMP,
    SEVERAL_SAMPLES,
    SKIP,
    TOKEN_STATES,
    WHOLE_BATCH,
    WHOLE_KL,
)
from jvae.components import Choice, Component, Group, Registry, Rule, Switch
from jvae.configs import option
from jvae.data import CORPORA, TOKENIZERS
from jvae.decoders import DECODERS
from jvae.encoders import ENCODERS
from jvae.estimators import ESTIMATORS
from jvae.evaluation.settings import EVALUATION
from jvae.posteriors import POSTERIORS
from jvae.priors import PRIORS
from jvae.remedies import (
    BOUNDS,
    DENOISING,
    GRADIENTS,
    KERNELS,
    KL_SCHEDULES,
    LOSSES,
    POSTERIOR_MAPS,
    RATE_CONTROLS,
    REFINEMENTS,
)
from jvae.training.settings import TRAINING as SHARED_TRAINING
from jvae.training.settings import TrainingOptions

if TYPE_CHECKING:
    from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Options of the corpus. That files are the same is known by the fingerprint of sentences."""

    name: str = option("chitchat", "the corpus", choices=CORPORA)
    dir: str = option("", "local files of the corpus, where it has any", free=True)
    train: str = option("", 'corpus "text": file of training sentences', free=True)
    valid: str = option(
        "", 'corpus "text": validation file; without it a share of the training file', free=True
    )
    test: str = option("", 'corpus "text": test file, likewise', free=True)
    seed: int = option(
        0, 'seed of the split of a single file, and of the corpus "synthetic"', at_least=0
    )
    label: bool = option(False, 'corpus "text": lines are label<TAB>sentence')
    column: str = option("", 'corpus "text": column of a .csv, .tsv, .jsonl or .json')
    label_column: str = option("", 'corpus "text": column of labels')
    tokenizer: str = option("words", "units of a sentence", choices=TOKENIZERS)
    min_count: int = option(1, "rarer words become <unk>", above=0)
    max_size: int = option(0, "size of the vocabulary, special tokens included; 0: all", at_least=0)
    max_length: int = option(0, "most tokens of a sentence, without </s>; 0: no limit", at_least=0)
    too_long: str = option(
        "truncate", "treatment of longer sentences", choices=("truncate", "drop")
    )
    max_buckets: int = option(4, "most padded lengths, each a compiled shape", above=0)
    stream: bool = option(
        False, "training sentences stay on disk, and go to the device step by step", free=True
    )


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """Options that parts of the model share."""

    latent_size: int = option(32, "L, size of z or of each vector of a set", above=0)
    embed_size: int = option(512, "E, size of token embeddings", above=0)
    hidden_size: int = option(1024, "H, size of encoder and decoder", above=0)
    dropout_in: float = option(
        0.5,
        "dropout on embeddings; usually 0.1 for a Transformer, whose encoder has it, too",
        at_least=0,
        below=1,
    )
    dropout_out: float = option(
        0.5,
        "dropout before the output layer, or on a Transformer's sublayers (usually 0.1)",
        at_least=0,
        below=1,
    )
    word_dropout: float = option(
        0.0, "share of the decoder's input words that become <unk>", at_least=0, at_most=1
    )
    skip: bool = option(False, "z, one vector, also reaches the output layer")
    denoise_rate: float = option(
        0.3, "share of the words that denoise damages", at_least=0, at_most=1
    )
    init_scale: float = option(
        0.01, "scale of initial weights of lstm, cnn and heads; a Transformer's has another"
    )
    embed_init_scale: float = option(0.1, "scale of initial embeddings of lstm and cnn")


@dataclasses.dataclass(frozen=True)
class ObjectiveOptions:
    """Options of the KL's weight, of samples, and of terms beside the bound."""

    kl_start: float = option(0.1, "first KL weight, of linear and cyclical schedules", at_least=0)
    kl_end: float = option(
        1.0,
        "final KL weight, beta of a constant schedule; 0 means an autoencoder with noise",
        at_least=0,
    )
    kl_epochs: float = option(
        10.0, "epochs of the linear ramp, until the logistic midpoint, or of a cycle", above=0
    )
    kl_delay: float = option(0.0, "epochs at kl_start before a linear ramp", at_least=0)
    num_samples: int = option(1, "samples of z for each sentence and update", above=0)
    bow_weight: float = option(
        0.0, "weight of the bag-of-words loss; 1 in its source (Zhao et al., 2017)", at_least=0
    )
    info_alpha: float = option(
        0.0, "InfoVAE: the KL's weight is multiplied by 1 - alpha (Zhao et al., 2019)", at_most=1
    )
    info_lambda: float = option(1.0, "InfoVAE: MMD(q(z), p(z)) weighs alpha + lambda - 1")
    mmd_kernel: str = option("rbf", "kernel of the MMD", choices=KERNELS)
    mi_weight: float = option(
        0.0, "weight of the mutual information within a batch, which is maximised", at_least=0
    )
    adversarial_weight: float = option(
        0.0,
        "weight of a discriminator of q(z) and p(z); 10 in its source (Makhzani et al., 2015)",
        at_least=0,
    )
    discriminator_size: int = option(512, "units of the discriminator's hidden layer", above=0)
    discriminator_learning_rate: float = option(5e-4, "learning rate of its Adam", above=0)


@dataclasses.dataclass(frozen=True)
class TextTrainingOptions(TrainingOptions):
    """Options of training, and of the autoencoder that may come first."""

    pretrain_epochs: int = option(
        0,
        "epochs of an autoencoder, whose encoder the run starts from (Li et al., 2019)",
        at_least=0,
    )


MODES: Registry = {
    "vae": Component(gives=frozenset({LATENT, POSTERIOR}), about="a variational autoencoder"),
    "ae": Component(gives=frozenset({LATENT}), about="an autoencoder: no noise, no KL"),
    "lm": Component(gives=frozenset({NO_LATENT}), about="the decoder alone: a language model"),
}

_NVIB_LAYERS = Component(
    gives=frozenset({DENOISING_ATTENTION}),
    needs={
        TOKEN_STATES: "they are its last blocks",
        PLAIN_POSTERIORS: "a map knows nothing of the layers' KL terms",
        KL_BY_NAME: "its layers' KL terms are no part of the bound",
        PLAIN_GRADIENT: "another would leave out its layers' KL terms",
    },
)
MODEL = Group(
    "model",
    ModelOptions,
    choices=(
        Choice("mode", MODES, "vae", "the kind of model"),
        Choice("encoder", ENCODERS, "lstm", "the network that reads a sentence"),
        Choice("decoder", DECODERS, "lstm", "the network that writes a sentence"),
        Choice("posterior", POSTERIORS, "diagonal", "the family of q(z | x)"),
        Choice("prior", PRIORS, "standard_normal", "the prior p(z)"),
        Choice(
            "posterior_map",
            POSTERIOR_MAPS,
            "none",
            "map of the posterior that bounds the KL from below",
        ),
        Choice("denoise", DENOISING, "", "damage to the encoder's input in training"),
        Choice("refine", REFINEMENTS, "", "improvement of each posterior"),
    ),
    switches=(
        Switch(
            "skip",
            on=Component(
                needs={
                    LATENT: "it is z that reaches the output layer",
                    SKIP: "it is z that reaches the output layer",
                    ONE_VECTOR: "it is a linear map of z",
                }
            ),
        ),
        Switch("transformer.nvib_layers", on=_NVIB_LAYERS),
        Switch(
            "transformer.attention",
            zero="dot_product",
            on=Component(
                gives=frozenset({DENOISING_ATTENTION}),
                needs={MIXTURES: "it reads weights and variances"},
            ),
        ),
        Switch(
            "transformer.attention_bias",
            zero="half",
            on=Component(needs={DENOISING_ATTENTION: "no other attention has it"}),
        ),
    ),
    rules=(
        Rule(
            lambda config: (
                not _has_transformer(config)
                or config.model.hidden_size % config.model.transformer.heads == 0
            ),
            lambda config: (
                f"model.transformer.heads = {config.model.transformer.heads} must divide "
                f"model.hidden_size = {config.model.hidden_size}: each head has an equal share"
            ),
        ),
        Rule(
            lambda config: config.model.transformer.nvib_layers <= config.model.transformer.layers,
            lambda config: (
                f"model.transformer.nvib_layers = {config.model.transformer.nvib_layers} must be "
                f"at most model.transformer.layers = {config.model.transformer.layers}: it is so "
                "many of them"
            ),
        ),
        Rule(
            lambda config: (
                not _has_transformer(config)
                or config.model.transformer.positions != "learned"
                or config.data.max_length + 1 <= config.model.transformer.max_positions
            ),
            lambda config: (
                f"model.transformer.max_positions = {config.model.transformer.max_positions} must "
                f"be at least {config.data.max_length + 1}: data.max_length = "
                f"{config.data.max_length} and </s>"
            ),
        ),
    ),
)


def _has_transformer(config: "ConfigDict") -> bool:
    return "transformer" in (config.model.encoder, config.model.decoder)


# Needs of terms that look at all z of a batch.
_AGGREGATE = {ELBO_BOUND: "its terms are the ELBO's", LATENT: "it is of z"}
_WHOLE = {WHOLE_BATCH: "it is of a whole batch", ONE_FUNCTION: "it is of a whole batch"}
_DRAWN = {FIXED_PRIOR: "it compares with draws of a prior that stands still"}
_MMD = Component(needs=_AGGREGATE | _DRAWN | _WHOLE)

OBJECTIVE = Group(
    "objective",
    ObjectiveOptions,
    choices=(
        Choice("loss", LOSSES, "elbo", "the loss, in which the KL schedule weights the KL"),
        Choice("kl_schedule", KL_SCHEDULES, "linear", "schedule of the KL weight"),
        Choice("rate_control", RATE_CONTROLS, "", "a KL weight that follows the KL"),
        Choice("bound", BOUNDS, "elbo", "bound on the log-likelihood"),
        Choice("gradient", GRADIENTS, "plain", "gradient of the bound"),
        Choice(
            "estimator", ESTIMATORS, "pathwise", "gradient estimator of the expected log-likelihood"
        ),
    ),
    switches=(
        Switch("kl_delay", on=Component(needs={RAMP: "it delays the ramp"})),
        Switch("kl_end", zero=1.0, off=Component(gives=frozenset({LAST_WEIGHT_ONE}))),
        Switch("info_alpha", off=Component(gives=frozenset({WHOLE_KL}))),
        Switch("num_samples", zero=1, on=Component(gives=frozenset({SEVERAL_SAMPLES}))),
        Switch(
            "bow_weight",
            on=Component(
                needs={
                    LATENT: "the head reads z",
                    ONE_VECTOR: "the head reads z",
                }
            ),
            off=Component(gives=frozenset({NO_HEAD})),
        ),
        # The weight of the MMD is that of both; the message names the one that was set.
        Switch(
            "info_lambda",
            on=_MMD,
            when=lambda values: values.info_lambda != 1 and mmd_weight(values) != 0,
        ),
        Switch(
            "info_alpha",
            on=_MMD,
            when=lambda values: values.info_lambda == 1 and mmd_weight(values) != 0,
        ),
        Switch(
            "mi_weight",
            on=Component(
                needs=_AGGREGATE
                | {
                    POSTERIOR: "it takes the density of z",
                    ONE_VECTOR: "it knows the density of one vector",
                    ANY_DENSITY: "a flow knows its own draws' density alone",
                    PLAIN_GRADIENT: "'stl' leaves out a part of its gradient",
                }
                | _WHOLE
            ),
        ),
        Switch(
            "adversarial_weight",
            on=Component(
                needs=_AGGREGATE
                | _DRAWN
                | {JOINT_UPDATES: "its discriminator would lag behind the inner loop"}
            ),
        ),
    ),
    rules=(
        Rule(
            lambda config: mmd_weight(config.objective) >= 0,
            lambda config: (
                f"objective.info_lambda = {config.objective.info_lambda} needs to be at least "
                f"{1 - config.objective.info_alpha:g} (1 - objective.info_alpha)"
            ),
        ),
    ),
)


def mmd_weight(objective: "ConfigDict") -> float:
    """Returns the weight of the MMD of q(z) and p(z)."""
    weight: float = objective.info_alpha + objective.info_lambda - 1
    return weight


TRAINING = dataclasses.replace(
    SHARED_TRAINING,
    options=TextTrainingOptions,
    switches=(
        *SHARED_TRAINING.switches,
        Switch(
            "pretrain_epochs",
            on=Component(
                needs={
                    POSTERIOR: "its autoencoder draws z",
                    ONE_VECTOR: "its autoencoder has the prior of one vector, not of sets",
                },
                rules=(
                    Rule(
                        lambda config: not config.training.start_from,
                        lambda config: (
                            f"training.start_from = {config.training.start_from!r} needs "
                            "training.pretrain_epochs = 0: both give the first parameters"
                        ),
                    ),
                ),
            ),
        ),
    ),
)

DATA = Group("data", DataOptions)
TEXT_GROUPS = (DATA, MODEL, OBJECTIVE, TRAINING, EVALUATION)


def default_config() -> "ConfigDict":
    """Makes the configuration of all fields: the recipe of He et al. (2019), not aggressive.

    An experiment's `get_config` changes what differs.
    """
    return components.default_config(TEXT_GROUPS)
