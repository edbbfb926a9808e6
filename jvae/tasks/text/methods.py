"""Training methods of text VAEs by name, as differences from a plain one, for comparisons."""

from collections.abc import Mapping
from typing import Any

from jvae.configs import flat
from jvae.runs.task import Method, Methods
from jvae.tasks.text.config import MODEL, OBJECTIVE

# Fields of `model` that a base decides; methods decide the others.
_SIZES = frozenset(
    {
        "model.encoder",
        "model.decoder",
        "model.latent_size",
        "model.embed_size",
        "model.hidden_size",
        "model.dropout_in",
        "model.dropout_out",
        "model.init_scale",
        "model.embed_init_scale",
        "model.transformer.layers",
        "model.transformer.heads",
        "model.transformer.feed_forward",
        "model.transformer.norm",
        "model.transformer.positions",
        "model.transformer.max_positions",
        "model.transformer.pooling",
    }
)
# A VAE without a remedy, from which each method differs in its fields alone: whatever the base's
# recipe is, a method means the same. The inner loop's options are budget, as epochs are.
PLAIN: dict[str, Any] = {
    **{name: v for name, v in flat(MODEL.fields(), "model.") if name not in _SIZES},
    **dict(flat(OBJECTIVE.fields(), "objective.")),
    "objective.kl_schedule": "constant",
    "training.aggressive": False,
    "training.pretrain_epochs": 0,
    "training.start_from": "",
}
# Neither has a posterior or a schedule for other choices to act on.
_WITHOUT_POSTERIOR = {k: v for k, v in PLAIN.items() if k != "model.word_dropout"}
FLOOR, CEILING = "lm", "ae"  # the others lie between them
_CNN = {"model.decoder": "cnn", "model.cnn.size": "S"}
_ANNEAL = {
    "objective.kl_schedule": "linear",
    "objective.kl_start": 0.0,
    "objective.kl_epochs": 10.0,
}
_FREE_BITS = {"objective.loss": "free_bits", "objective.free_bits.target": 8.0} | _ANNEAL
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
            "objective.cyclical.cycles": 4,
            "objective.cyclical.ramp": 0.5,
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
        _FREE_BITS | {"objective.free_bits.mode": "total"},
    ),
    "capacity": Method(
        "the KL of each sentence drawn to 8 nats, in 2,000 steps (Burgess et al., 2018)",
        {
            "objective.loss": "capacity",
            "objective.capacity.target": 8.0,
            "objective.capacity.steps": 2000,
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
        {"objective.rate_control": "minimum_rate", "objective.minimum_rate.rate": 5.0},
    ),
    "soft_free_bits": Method(
        "a KL of about 5 nats by a weight that moves in steps (Chen et al., 2017)",
        {"objective.rate_control": "soft_free_bits", "objective.soft_free_bits.rate": 5.0},
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
        {"model.posterior_map": "diversity", "model.diversity.gamma": 0.5},
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
            "model.refine": "semi_amortised",
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


def plain(base: Any) -> Mapping[str, Any]:
    """Returns the fields of a VAE without a remedy; a convolutional decoder is one, too."""
    if base.model.decoder == "cnn":
        return PLAIN | {"model.decoder": MODEL.fields()["decoder"]}
    return PLAIN


def bounds(name: str) -> tuple[str, str]:
    """Returns floor and ceiling with the decoder of a method, or of several joined by "+"."""
    for part in name.split("+"):
        if decoder := METHODS[part].fields.get("model.decoder"):
            return f"{FLOOR}_{decoder}", f"{CEILING}_{decoder}"
    return FLOOR, CEILING


TEXT_METHODS = Methods(plain, METHODS, bounds, ("vae", "anneal", "cyclical", "aggressive"))
