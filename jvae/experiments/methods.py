"""Training methods by name, as differences from a plain VAE, for comparisons."""

import difflib
from collections.abc import Collection
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jvae.errors import UserError
from jvae.experiments.config import default_config


class Method(NamedTuple):
    """A way to train.

    Attributes:
      about: what it is, in a few words.
      fields: dotted name of a configuration's field -> value.
    """

    about: str
    fields: dict[str, Any]


# Of `model`, what a base decides; the rest of it is a matter of methods.
_SIZES = (
    "encoder",
    "decoder",
    "latent_size",
    "embed_size",
    "hidden_size",
    "dropout_in",
    "dropout_out",
    "layers",
    "heads",
    "feed_forward",
    "norm",
    "positions",
    "max_positions",
    "pooling",
    "init_scale",
    "embed_init_scale",
)
# A VAE without a remedy, from which each method differs in its own fields alone: whatever the
# base's recipe is, a method means the same. The inner loop's options are budget, as epochs are.
PLAIN: dict[str, Any] = {
    **{f"model.{k}": v for k, v in default_config().model.items() if k not in _SIZES},
    **{f"objective.{k}": v for k, v in default_config().objective.items()},
    "objective.kl_schedule": "constant",
    "training.aggressive": False,
    "training.pretrain_epochs": 0,
    "training.start_from": "",
}
# Neither has a posterior or a schedule for other choices to act on.
_WITHOUT_POSTERIOR = {k: v for k, v in PLAIN.items() if k != "model.word_dropout"}
FLOOR, CEILING = "lm", "ae"  # what the others are to be seen between
_CNN = {"model.decoder": "cnn", "model.cnn_size": "S"}
_ANNEAL = {
    "objective.kl_schedule": "linear",
    "objective.kl_start": 0.0,
    "objective.kl_epochs": 10.0,
}
_FREE_BITS = {"objective.loss": "free_bits", "objective.free_bits": 8.0} | _ANNEAL
METHODS: dict[str, Method] = {
    FLOOR: Method(
        "the same decoder without a latent: the likelihood to beat",
        _WITHOUT_POSTERIOR | {"model.mode": "lm"},
    ),
    CEILING: Method(
        "the same network without KL and noise: the best reconstruction",
        _WITHOUT_POSTERIOR | {"model.mode": "ae"},
    ),
    "lm_cnn": Method(
        "the decoder of cnn without a latent: the likelihood that cnn has to beat",
        _WITHOUT_POSTERIOR | _CNN | {"model.mode": "lm"},
    ),
    "ae_cnn": Method(
        "cnn without KL and noise: its best reconstruction",
        _WITHOUT_POSTERIOR | _CNN | {"model.mode": "ae"},
    ),
    "vae": Method("no remedy: KL weight 1 throughout", {}),
    "anneal": Method(
        "KL weight from 0 to 1 over the first 10 epochs (Bowman et al., 2016)", _ANNEAL
    ),
    "logistic": Method(
        "KL weight along a logistic curve, a half after 5 epochs (Bowman et al., 2016)",
        {"objective.kl_schedule": "logistic", "objective.kl_epochs": 5.0},
    ),
    "cyclical": Method(
        "four ramps of the KL weight, each in 2.5 epochs (Fu et al., 2019)",
        {
            "objective.kl_schedule": "cyclical",
            "objective.kl_start": 0.0,
            "objective.kl_epochs": 2.5,
            "objective.kl_cycles": 4,
            "objective.kl_ramp": 0.5,
        },
    ),
    "beta": Method(
        "KL weight 0.5 throughout, evaluated at 1 (Higgins et al., 2017)",
        {"objective.kl_end": 0.5},
    ),
    "aggressive": Method(
        "the encoder trained ahead of the decoder (He et al., 2019), KL weight from 0.05 to 1",
        {
            "training.aggressive": True,
            "objective.kl_schedule": "linear",
            "objective.kl_start": 0.05,
            "objective.kl_epochs": 10.0,
        },
    ),
    "word_dropout": Method(
        "half of the decoder's input words hidden (Bowman et al., 2016)",
        {"model.word_dropout": 0.5},
    ),
    "free_bits": Method(
        "8 nats of KL for nothing, KL weight from 0 to 1 in 10 epochs (Kingma 2016, Li 2019)",
        _FREE_BITS,
    ),
    "free_bits_total": Method(
        "8 nats of the whole KL for nothing, not of each dimension's share, KL weight as free_bits",
        _FREE_BITS | {"objective.free_bits_mode": "total"},
    ),
    "capacity": Method(
        "the KL of each sentence drawn to 8 nats, in 2,000 steps (Burgess et al., 2018)",
        {
            "objective.loss": "capacity",
            "objective.capacity": 8.0,
            "objective.capacity_steps": 2000,
            "objective.kl_end": 10.0,
        },
    ),
    "pretrain_anneal": Method(
        "10 epochs as an autoencoder, a fresh decoder, then anneal (Li et al., 2019)",
        {"training.pretrain_epochs": 10} | _ANNEAL,
    ),
    "pretrain_free_bits": Method(
        "10 epochs as an autoencoder, a fresh decoder, then free_bits (Li et al., 2019)",
        {"training.pretrain_epochs": 10} | _FREE_BITS,
    ),
    "minimum_rate": Method(
        "a KL of at least 5 nats by a multiplier (Pelsmaeker and Aziz, 2020)",
        {"objective.rate_control": "minimum_rate", "objective.rate": 5.0},
    ),
    "soft_free_bits": Method(
        "a KL of about 5 nats by a weight that moves in steps (Chen et al., 2017)",
        {"objective.rate_control": "soft_free_bits", "objective.rate": 5.0},
    ),
    "bn": Method(
        "posterior means normalised over the batch (Zhu et al., 2020)",
        {"model.posterior_map": "batch_norm"},
    ),
    "committed_rate": Method(
        "posteriors bounded away from the prior (Razavi et al., 2019)",
        {"model.posterior_map": "committed_rate"},
    ),
    "du": Method(
        "posterior means normalised, a fifth of the variances dropped (Shen et al., 2021)",
        {"model.posterior_map": "diversity", "model.bn_gamma": 0.5},
    ),
    "skip": Method("z also at the output layer (Dieng et al., 2019)", {"model.skip": True}),
    "bow": Method(
        "z must tell the sentence's words without their order (Zhao et al., 2017)",
        {"objective.bow_weight": 1.0},
    ),
    "denoising": Method(
        "the encoder reads sentences with words missing (Shen et al., 2020)",
        {"model.denoise": "drop"},
    ),
    "denoising_swap": Method(
        "the encoder reads sentences with neighbours swapped", {"model.denoise": "swap"}
    ),
    "denoising_mask": Method(
        "the encoder reads sentences with words masked", {"model.denoise": "mask"}
    ),
    "mmd": Method(
        "an autoencoder with all its z held to the prior by MMD (Zhao et al., 2019)",
        {"model.mode": "ae", "objective.info_alpha": 1.0, "objective.info_lambda": 1000.0},
    ),
    "infovae": Method(
        "a tenth of the KL, and MMD of all z and the prior (Zhao et al., 2019)",
        {"objective.info_alpha": 0.9, "objective.info_lambda": 1000.0},
    ),
    "mi": Method(
        "half of the mutual information within a batch added (Hoffman and Johnson, 2016)",
        {"objective.mi_weight": 0.5},
    ),
    "aae": Method(
        "an autoencoder with all its z held to the prior by a discriminator (Makhzani 2015)",
        {"model.mode": "ae", "objective.adversarial_weight": 10.0},
    ),
    "daae": Method(
        "the same, reading sentences with words missing (Shen et al., 2020)",
        {
            "model.mode": "ae",
            "objective.adversarial_weight": 10.0,
            "model.denoise": "drop",
        },
    ),
    "cnn": Method(
        "a dilated convolution as decoder, which sees 15 tokens (Yang et al., 2017)",
        _CNN,
    ),
    "iwae": Method(
        "the bound of 5 importance samples, DReG gradient (Burda 2016, Tucker 2019)",
        {"objective.bound": "iwae", "objective.num_samples": 5, "objective.gradient": "dreg"},
    ),
    "stl": Method(
        "less noise in the encoder's gradient: sticking the landing (Roeder et al., 2017)",
        {"objective.gradient": "stl"},
    ),
    "semi_amortised": Method(
        "each posterior refined by 20 gradient steps, KL weight from 0.1 (Kim et al., 2018)",
        {
            "model.refine_steps": 20,
            "objective.kl_schedule": "linear",
            "objective.kl_start": 0.1,
            "objective.kl_epochs": 10.0,
        },
    ),
    "mixture": Method("a learnt mixture of Gaussians as prior", {"model.prior": "mixture"}),
    "vamp": Method(
        "the mixture of the posteriors of learnt sentences as prior (Tomczak 2018)",
        {"model.prior": "vamp"},
    ),
    # These have no estimator of MI, hence no verdict: they are shown, not recommended.
    "full": Method("posteriors with all covariances", {"model.posterior": "full"}),
    "vmf": Method(
        "posteriors on a sphere, with a constant KL (Xu and Durrett, 2018)",
        {"model.posterior": "vmf", "model.prior": "uniform_sphere"},
    ),
    "planar": Method(
        "posteriors bent by two planar flows (Rezende and Mohamed, 2015)",
        {"model.posterior": "planar"},
    ),
    "iaf": Method(
        "posteriors bent by two inverse autoregressive flows (Kingma et al., 2016)",
        {"model.posterior": "iaf"},
    ),
}


def known(names: list[str], methods: dict[str, Method]) -> list[str]:
    """The names, once each.

    Raises:
      UserError: one is none of the methods'.
    """
    for name in names:
        if name not in methods:
            near = difflib.get_close_matches(name, methods, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(f"--methods: {name!r} is unknown: {hint}known are {', '.join(methods)}")
    return list(dict.fromkeys(names))


def method(name: str) -> Method:
    """A method, or several joined by "+", as "pretrain_free_bits+bn": one with the fields of all.

    Raises:
      UserError: one is unknown, or two of them set a field to different values.
    """
    parts = [METHODS[part] for part in known(name.split("+"), METHODS)]
    fields: dict[str, Any] = {}
    for part in parts:
        for field, value in part.fields.items():
            if fields.setdefault(field, value) != value:
                raise UserError(
                    f"--methods={name}: {field} cannot be both {fields[field]!r} and {value!r}: "
                    "leave one of the methods out"
                )
    return Method("; ".join(part.about for part in parts), fields)


def bounds(name: str) -> tuple[str, str]:
    """Floor and ceiling with the same decoder as a method."""
    own = method(name).fields.get("model.decoder")
    return (f"{FLOOR}_{own}", f"{CEILING}_{own}") if own else (FLOOR, CEILING)


BOUNDS = {bound for name in METHODS for bound in bounds(name)}


def choose(names: list[str]) -> list[str]:
    """The methods of a comparison: floors and ceilings first, then the named ones, once each.

    Raises:
      UserError: one is no `method`.
    """
    own = [bound for name in names for bound in bounds(name)]
    return list(dict.fromkeys([FLOOR, CEILING, *own, *names]))


def replaced(base: ConfigDict, given: Collection[str] = ()) -> dict[str, Any]:
    """The fields of the base that methods do not start from, with the values that they start from.

    Args:
      base: data, sizes and training budget.
      given: fields, as "model.word_dropout", that are kept.
    """
    plain = dict(PLAIN)
    if base.model.decoder == METHODS["cnn"].fields["model.decoder"]:  # a remedy, too
        plain["model.decoder"] = default_config().model.decoder
    flat = {f"{group}.{k}": v for group, fields in base.items() for k, v in fields.items()}
    return {k: v for k, v in plain.items() if k not in given and flat[k] != v}


def configure(base: ConfigDict, name: str, seed: int, given: Collection[str] = ()) -> ConfigDict:
    """A method with the base's data, sizes and training budget; all else is a plain VAE's.

    Args:
      base: its remedies, if any, are left out.
      name: of a `method`.
      seed: of the run.
      given: fields, as "model.word_dropout", whose value in the base is that of every method which
        does not set them itself.
    """
    config = base.copy_and_resolve_references()
    fields = replaced(base, given) | method(name).fields
    config.update_from_flattened_dict(fields | {"training.seed": seed})
    return config
