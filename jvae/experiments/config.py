"""The configuration of a run: every field with its default."""

from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from jvae.types import DType

# Where a run's processes are; it has no part in what the run is.
PLACE_FIELDS = ("training.coordinator", "training.num_processes", "training.process_id")
# What may differ when a run is resumed: how long, where and how it is shown, not what it computes.
FREE_FIELDS = (
    "data.dir",
    "data.stream",
    "data.train",  # where the sentences lie; that they are the same is told by their fingerprint
    "data.valid",
    "data.test",
    "training.epochs",
    "training.num_devices",
    "training.vocab_shards",
    *PLACE_FIELDS,
    "training.parallel",
    "training.memory_gb",
    "training.log_seconds",
    "training.profile",
    "evaluation.split",
    "evaluation.batch_size",
    "evaluation.iw_samples",
    "evaluation.iw_tolerance",
    "evaluation.iw_batch_size",
    "evaluation.iw_sentences",
    "evaluation.memory_mb",
    "evaluation.num_examples",
)
MODES_OF_MODEL = ("vae", "ae", "lm")
POSTERIOR_MAPS = ("none", "batch_norm", "committed_rate", "diversity")
EVALUATED = ("test", "valid")
PRECISIONS: dict[str, DType] = {"float32": None, "bfloat16": jnp.bfloat16}


def default_config() -> ConfigDict:
    """Every field with its default: the recipe of He et al. (2019) without aggressive training.

    An experiment's `get_config` changes what differs. 0 and "" stand for "none" or "all".
    """
    config = ConfigDict()
    config.data = ConfigDict(
        {
            "name": "chitchat",  # a key of jvae.data.CORPORA
            "dir": "",  # local files of the corpus, where it has any
            "train": "",  # corpus "text": files of sentences
            "valid": "",
            "test": "",
            "seed": 0,  # corpus "text": split of a single file; "synthetic": generator
            "label": False,  # corpus "text": label<TAB>sentence
            "column": "",  # corpus "text": column of a .csv, .tsv or .jsonl
            "label_column": "",
            "tokenizer": "words",  # words, chars or bpe
            "min_count": 1,  # rarer words become <unk>
            "max_size": 0,  # vocabulary size, special tokens included
            "max_length": 0,  # tokens of a sentence, without </s>
            "too_long": "truncate",  # or drop
            "max_buckets": 4,  # padded lengths, hence compiled shapes
            "stream": False,  # training sentences stay on disk, and go to the device step by step
        }
    )
    config.model = ConfigDict(
        {
            "mode": "vae",  # vae; ae: no noise, no KL; lm: no latent
            "encoder": "lstm",  # lstm, transformer
            "decoder": "lstm",  # lstm, cnn, transformer
            # standard_normal, mixture, vamp, uniform_sphere; of sets: normal_set, dirichlet_process
            "prior": "standard_normal",
            "prior_components": 100,  # mixture, vamp
            "pseudo_length": 10,  # vamp: embeddings of a pseudo-sentence
            "posterior": "diagonal",  # diagonal, full, vmf, planar, iaf; of sets: vt, vts, nvib
            "vts_stride": 0.5,  # vts: share of the vectors that is dropped
            "nvib_alpha": "relu",  # nvib: how pseudo-counts are made; or exp
            "nvib_kappa": 1,  # nvib: draws of each vector
            "nvib_delta": 1.0,  # nvib: pseudo-counts that the prior expects of each token
            "nvib_start": 0.0,  # nvib: of each token before training; 0: nvib_delta
            "nvib_prior_alpha": 1.0,  # nvib: of the prior's own vector
            # nvib, nvib_layers: up to this alpha no vector outside training; 0: with relu none but
            "nvib_prune": 0.0,  # those of alpha 0; of exp, also in nvib_layers, 0.4 * nvib_delta
            "nvib_layers": 0,  # encoder "transformer": its last blocks attend to an NVIB latent
            "vmf_kappa": 13.0,  # vmf: concentration
            "flow_steps": 2,  # planar, iaf
            "flow_hidden": 64,  # iaf: units of each step's masked layer
            "posterior_map": "none",  # none, batch_norm, committed_rate, diversity
            "bn_gamma": 0.7,  # batch_norm, diversity: standard deviation of the posterior means
            "variance_dropout": 0.2,  # diversity: share of the variances
            "committed_rate": 0.1,  # committed_rate: nats per dimension
            "refine_steps": 0,  # semi-amortised: gradient steps on each posterior; its source's 20
            "refine_rate": 1 / 32,  # of a sentence's gradient; the source's 1 for the mean of 32
            "refine_momentum": 0.5,
            "refine_clip": 28.0,  # of a sentence's gradient; the source's 5 for the mean of 32
            "latent_size": 32,
            "embed_size": 512,
            "hidden_size": 1024,
            "dropout_in": 0.5,  # of embeddings; a Transformer's encoder, too, and its usual is 0.1
            "dropout_out": 0.5,  # before the output layer; transformer: of each sublayer, usual 0.1
            "word_dropout": 0.0,
            "cnn_size": "S",  # decoder "cnn": S, M, L or VL
            "layers": 2,  # transformer: blocks, of the encoder and of the decoder
            "heads": 4,  # transformer: of each attention; divides hidden_size
            "feed_forward": 0,  # transformer: units within each block; 0: 4 * hidden_size
            "norm": "pre",  # transformer: normalise before each sublayer, or after it: post
            "positions": "sinusoidal",  # transformer: or learned
            "max_positions": 256,  # most tokens of a sentence: of learned positions, of sets
            "pooling": "mean",  # encoder "transformer", one vector: mean, max, first
            "attention": "dot_product",  # of the decoder to a set of vectors; nvib: or denoising
            "attention_bias": "half",  # denoising, nvib_layers: of the log variances; or v1, exact
            "skip": False,  # lstm, transformer: z, one vector, also reaches the output layer
            "denoise": "",  # what the encoder reads in training: drop, swap or mask words
            "denoise_rate": 0.3,
            "init_scale": 0.01,  # lstm, cnn and heads; a Transformer's weights know their scale
            "embed_init_scale": 0.1,  # likewise
        }
    )
    config.objective = ConfigDict(
        {
            "kl_schedule": "linear",  # constant, linear, logistic, cyclical
            "kl_start": 0.1,  # linear, cyclical
            "kl_end": 1.0,  # all: the last weight; with constant this is beta; 0: best epoch by rec
            "kl_epochs": 10.0,  # linear: the ramp; logistic: the midpoint; cyclical: a cycle
            "kl_delay": 0.0,  # linear: epochs at kl_start before the ramp
            "kl_cycles": 4,  # cyclical
            "kl_ramp": 0.5,  # cyclical: share of a cycle spent rising
            "kl_shape": "linear",  # cyclical: or cosine, logistic
            "kl_steepness": 0.0025,  # logistic: per step
            "num_samples": 1,  # of z per sentence and update
            # or free_bits, capacity, by_name; the KL schedule weighs the KL term of each
            "loss": "elbo",
            "gaussian_weight": 1.0,  # loss "by_name", of sets: of their Gaussians' KL, in nats;
            "dirichlet_weight": 1.0,  # of their weights' KL; the schedule multiplies both
            "dirichlet_schedule": "",  # the latter's own, or ""; but for its epochs and delay
            "dirichlet_epochs": 10.0,  # it shares the options of kl_schedule
            "dirichlet_delay": 0.0,
            "free_bits": 8.0,  # nats per sentence, over all dimensions
            "free_bits_mode": "dimension",  # or dimension_batch, total
            "free_bits_form": "mask",  # or clamp
            "capacity": 25.0,  # the last target, nats per sentence
            "capacity_steps": 100_000,  # until then
            "rate_control": "",  # or minimum_rate, soft_free_bits
            "rate": 5.0,  # rate_control: nats per sentence
            "rate_learning_rate": 1e-3,  # minimum_rate: of the multiplier
            "bound": "elbo",  # or iwae, with num_samples
            "gradient": "plain",  # of the encoder; elbo: or stl, iwae: or dreg
            "bow_weight": 0.0,  # of the bag-of-words loss; its source's is 1
            "info_alpha": 0.0,  # InfoVAE: the KL's weight is multiplied by 1 - alpha,
            "info_lambda": 1.0,  # and MMD(q(z), p(z)) weighs alpha + lambda - 1
            "mmd_kernel": "rbf",  # or imq
            "mi_weight": 0.0,  # of the mutual information within a batch, which is maximised
            "adversarial_weight": 0.0,  # of a discriminator of q(z) and p(z); its source's is 10
            "discriminator_size": 512,
            "discriminator_learning_rate": 5e-4,
        }
    )
    config.training = ConfigDict(
        {
            "seed": 0,
            "epochs": 100,
            "batch_size": 32,  # sentences of an update, over all devices
            "max_batches": 0,  # an epoch is at most so many batches, drawn anew each time
            "optimiser": "sgd",  # or adam
            "learning_rate": 1.0,
            "warmup_steps": 0,  # updates in which it rises from 0, not the inner optimiser's
            "clip_norm": 5.0,  # of the gradient's norm
            "precision": "float32",  # or bfloat16: factors of training's products, not evaluation's
            "aggressive": False,
            "aggressive_epochs": 100,  # the phase lasts at most so long
            "aggressive_min_epochs": 0,  # and at least so long, whatever the MI
            "inner_optimiser": "sgd",  # or adam
            "inner_learning_rate": 1.0,
            "inner_max_updates": 100,
            "inner_window": 15,
            "inner_clip": "encoder",  # or joint
            "patience": 2,  # epochs without a better validation ELBO before the rate is cut
            "warm_epochs": 15,  # no cut in the first so many epochs
            "decay": 0.5,  # a cut multiplies the rate by it
            "max_decays": 5,  # the run ends at so many cuts
            "parallel": "jit",  # or pmap
            "num_devices": 0,  # 0: all
            "vocab_shards": 1,  # parts of the vocabulary, each on other devices; divides them
            "coordinator": "",  # several processes: host:port of the first, or auto
            "num_processes": 1,
            "process_id": 0,
            "memory_gb": 0.0,  # of a device, kept by batches and samples in parts; 0: no limit
            "log_seconds": 10.0,  # between lines of progress
            "profile": 0,  # so many steps are traced into the run directory
            "start_from": "",  # another run's directory: its best parameters, afresh all else
            "pretrain_epochs": 0,  # first an autoencoder, from whose encoder the run starts
        }
    )
    config.evaluation = ConfigDict(
        {
            "split": "test",  # or valid, for choices that must not see the test split
            "batch_size": 64,
            "mi_batch_size": 32,  # the aggregate posterior of He's estimator
            "iw_samples": 500,
            "iw_tolerance": 0.0,  # nats: fewer samples once the rest would change less; 0: all
            "iw_sentences": 0,  # the first so many of the split
            "iw_batch_size": 8,  # sentences weighed at once
            "memory_mb": 64,  # of a device, for samples decoded at once; on a GPU or TPU take more
            "num_examples": 10,  # sentences sampled, reconstructed, interpolated in the report
        }
    )
    return config.lock()  # a misspelt field in a configuration file is refused


def difference(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """The first field in which two configurations differ for a resumed run, in words, or None."""
    for group in sorted(set(old) | set(new)):
        for field in sorted(set(old.get(group, {})) | set(new.get(group, {}))):
            before, after = old.get(group, {}).get(field), new.get(group, {}).get(field)
            if before != after and f"{group}.{field}" not in FREE_FIELDS:
                return f"{group}.{field} was {before!r} and is now {after!r}"
    return None


def with_defaults(stored: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration: a run older than a field was one with its default."""
    fields = default_config().to_dict().items()
    return stored | {group: values | stored.get(group, {}) for group, values in fields}
