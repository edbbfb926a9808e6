"""Remedies for posterior collapse, one file each, and their registries."""

from jvae.capabilities import (
    ANY_DENSITY,
    CONSTANT_WEIGHT,
    DIAGONAL,
    ELBO_BOUND,
    ELBO_LOSS,
    FIXED_PRIOR,
    FREE_RATE,
    IMPORTANCE_WEIGHTS,
    JOINT_UPDATES,
    KL_BY_NAME,
    KL_IN_NATS,
    LAST_WEIGHT_ONE,
    LATENT,
    NO_HEAD,
    ONE_FUNCTION,
    ONE_VECTOR,
    PLAIN_GRADIENT,
    PLAIN_POSTERIORS,
    POSTERIOR,
    RAMP,
    SEVERAL_SAMPLES,
    TRAINED_KL,
    TRAINED_SCORE,
    WHOLE_BATCH,
    WHOLE_KL,
)
from jvae.components import Component, Registry
from jvae.remedies.adversarial import with_adversary as with_adversary
from jvae.remedies.aggregate import KERNELS as KERNELS
from jvae.remedies.aggregate import with_mmd as with_mmd
from jvae.remedies.aggregate import with_mutual_information as with_mutual_information
from jvae.remedies.aggressive import InnerLoop as InnerLoop
from jvae.remedies.aggressive import aggressive_update as aggressive_update
from jvae.remedies.bag_of_words import with_bag_of_words as with_bag_of_words
from jvae.remedies.batch_norm import SEVERAL_ROWS, BatchNormOptions, build_batch_norm
from jvae.remedies.batch_norm import batch_norm as batch_norm
from jvae.remedies.by_name import DELAYED_RAMP, ByNameOptions, build_by_name, build_elbo
from jvae.remedies.by_name import ScheduledLoss as ScheduledLoss
from jvae.remedies.capacity import CapacityOptions, build_capacity
from jvae.remedies.capacity import capacity as capacity
from jvae.remedies.committed_rate import CommittedRateOptions, build_committed_rate
from jvae.remedies.committed_rate import committed_rate as committed_rate
from jvae.remedies.denoising import NOISES as NOISES
from jvae.remedies.denoising import build_denoising
from jvae.remedies.denoising import with_denoising as with_denoising
from jvae.remedies.diversity import DiversityOptions, build_diversity
from jvae.remedies.diversity import diversity as diversity
from jvae.remedies.free_bits import FREE_BITS_FORMS as FREE_BITS_FORMS
from jvae.remedies.free_bits import FREE_BITS_MODES as FREE_BITS_MODES
from jvae.remedies.free_bits import FreeBitsOptions, build_free_bits
from jvae.remedies.free_bits import free_bits as free_bits
from jvae.remedies.iwae import iwae as iwae
from jvae.remedies.iwae import negative_iwae as negative_iwae
from jvae.remedies.kl_schedules import RAMPS as RAMPS
from jvae.remedies.kl_schedules import (
    CyclicalOptions,
    LogisticOptions,
    build_constant,
    build_cyclical,
    build_linear,
    build_logistic,
)
from jvae.remedies.kl_schedules import KLWeight as KLWeight
from jvae.remedies.path_gradient import stick_the_landing as stick_the_landing
from jvae.remedies.rate_control import (
    MinimumRateOptions,
    SoftFreeBitsOptions,
    build_minimum_rate,
    build_soft_free_bits,
)
from jvae.remedies.rate_control import RateControl as RateControl
from jvae.remedies.rate_control import with_rate_control as with_rate_control
from jvae.remedies.semi_amortised import SemiAmortisedOptions, build_semi_amortised
from jvae.remedies.semi_amortised import semi_amortised as semi_amortised


def _unchanged(options: object, shared: object) -> object:
    """Builds what leaves its argument as it is."""
    return lambda value: value


_BOUNDED_KL = {
    POSTERIOR: "it bounds the KL of a posterior",
    DIAGONAL: "its bound holds for them",
    FIXED_PRIOR: "one that learns would follow the posteriors, and no KL would be bounded",
}
_WHOLE = {WHOLE_BATCH: "its mean is of a whole batch", ONE_FUNCTION: "its mean is of a whole batch"}

# Build `encoder -> encoder`.
POSTERIOR_MAPS: Registry = {
    "none": Component(build=_unchanged, gives=frozenset({PLAIN_POSTERIORS})),
    "batch_norm": Component(
        BatchNormOptions,
        build_batch_norm,
        needs=_BOUNDED_KL | _WHOLE,
        rules=(SEVERAL_ROWS,),
        about="posterior means normalised over the batch (Zhu et al., 2020)",
    ),
    "committed_rate": Component(
        CommittedRateOptions,
        build_committed_rate,
        needs=_BOUNDED_KL,
        about="posteriors bounded away from the prior (Razavi et al., 2019)",
    ),
    "diversity": Component(
        DiversityOptions,
        build_diversity,
        needs=_BOUNDED_KL | _WHOLE,
        rules=(SEVERAL_ROWS,),
        about="posterior means normalised, variances dropped (Shen et al., 2021)",
    ),
}

# Build `encoder -> encoder`.
DENOISING: Registry = {
    "": Component(build=_unchanged),
    "drop": Component(
        build=build_denoising("drop"),
        needs={
            LATENT: "the encoder reads damaged sentences",
            ONE_VECTOR: "the prior of a set would learn how many vectors damaged sentences have",
        },
        about="words are left out (Shen et al., 2020)",
    ),
    "swap": Component(
        build=build_denoising("swap"),
        needs={LATENT: "the encoder reads damaged sentences"},
        about="neighbouring words change places",
    ),
    "mask": Component(
        build=build_denoising("mask"),
        needs={LATENT: "the encoder reads damaged sentences"},
        about="words become unknown",
    ),
}

# Build `model -> model`.
REFINEMENTS: Registry = {
    "": Component(build=_unchanged),
    "semi_amortised": Component(
        SemiAmortisedOptions,
        build_semi_amortised,
        needs={
            POSTERIOR: "elsewhere there is no posterior to refine",
            DIAGONAL: "the steps move their mean and log variance",
            PLAIN_POSTERIORS: "the steps would leave the bound of another",
            ELBO_BOUND: "that is what the steps raise",
            PLAIN_GRADIENT: "the training gradient passes through the steps",
            JOINT_UPDATES: "both keep q up with the decoder, and each update would refine",
        },
        about="gradient steps on each posterior (Kim et al., 2018)",
    ),
}

_BY_DIMENSION = "it needs a KL that is a sum over dimensions; elsewhere take 'total'"
_SUMS = {DIAGONAL: _BY_DIMENSION, FIXED_PRIOR: _BY_DIMENSION, PLAIN_GRADIENT: _BY_DIMENSION}
_KL = {POSTERIOR: "elsewhere the KL is 0"}
_AIMS = {KL_IN_NATS: "it aims at nats of the KL, which is a constant of 'vmf' and none of 'nvib'"}

# Build a `ScheduledLoss`.
LOSSES: Registry = {
    "elbo": Component(build=build_elbo, gives=frozenset({ELBO_LOSS}), about="the negative ELBO"),
    "free_bits": Component(
        FreeBitsOptions,
        build_free_bits,
        needs=_KL | _AIMS,
        parts={
            "mode": {
                "dimension": Component(needs=_SUMS),
                "dimension_batch": Component(needs=_SUMS | _WHOLE),
                "total": Component(),
            }
        },
        about="the KL below a target costs nothing (Kingma et al., 2016; Li et al., 2019)",
    ),
    "capacity": Component(
        CapacityOptions,
        build_capacity,
        needs=_KL | _AIMS,
        about="the KL is drawn to a target that grows (Burgess et al., 2018)",
    ),
    "by_name": Component(
        ByNameOptions,
        build_by_name,
        gives=frozenset({KL_BY_NAME, TRAINED_SCORE}),
        needs=_KL | {TRAINED_KL: "it weighs the KL, which is a constant of 'vmf'"},
        rules=(DELAYED_RAMP,),
        about="a separate weight for each KL term",
    ),
}

_WEIGHT_ONE = {
    CONSTANT_WEIGHT: "no other weight fits",
    LAST_WEIGHT_ONE: "no other weight fits",
    WHOLE_KL: "no other weight fits",
    ELBO_LOSS: "it is a loss itself",
}

# Build a `RateControl`, or None.
RATE_CONTROLS: Registry = {
    "": Component(build=lambda options, shared: None, gives=frozenset({FREE_RATE})),
    "minimum_rate": Component(
        MinimumRateOptions,
        build_minimum_rate,
        needs=_KL | _AIMS | _WEIGHT_ONE,
        about="a KL of at least a rate, by a multiplier (Pelsmaeker and Aziz, 2020)",
    ),
    "soft_free_bits": Component(
        SoftFreeBitsOptions,
        build_soft_free_bits,
        needs=_KL | _AIMS | _WEIGHT_ONE,
        about="a KL of about a rate, by a weight that moves in steps (Chen et al., 2017)",
    ),
}

# Build a schedule of a `KLWeight`.
KL_SCHEDULES: Registry = {
    "constant": Component(
        build=build_constant, gives=frozenset({CONSTANT_WEIGHT}), about="kl_end throughout"
    ),
    "linear": Component(
        build=build_linear,
        gives=frozenset({RAMP}),
        about="kl_start to kl_end in kl_epochs, after kl_delay epochs (Bowman et al., 2016)",
    ),
    "logistic": Component(
        LogisticOptions,
        build_logistic,
        about="half of kl_end after kl_epochs (Bowman et al., 2016)",
    ),
    "cyclical": Component(
        CyclicalOptions,
        build_cyclical,
        about="several ramps, each in a cycle of kl_epochs (Fu et al., 2019)",
    ),
}

# Nothing is built: `bound_objective` takes the terms and the loss of a bound together.
BOUNDS: Registry = {
    "elbo": Component(gives=frozenset({ELBO_BOUND}), about="the evidence lower bound"),
    "iwae": Component(
        gives=frozenset({IMPORTANCE_WEIGHTS, TRAINED_SCORE}),
        needs=_KL
        | _WEIGHT_ONE
        | {
            SEVERAL_SAMPLES: "with one sample it is the ELBO",
            FREE_RATE: "it has no KL to weigh",
            NO_HEAD: "its terms are of several samples, the head's of one",
        },
        about="the bound of num_samples importance samples (Burda et al., 2016)",
    ),
}
_ONE_DENSITY = {
    ONE_VECTOR: "it knows one vector and one KL term, not those of a set",
    ANY_DENSITY: "a flow knows the density of its own draws, not that at fixed parameters",
}
GRADIENTS: Registry = {
    "plain": Component(gives=frozenset({PLAIN_GRADIENT}), about="the derivative of the bound"),
    "stl": Component(
        needs={
            POSTERIOR: "it takes the density of z",
            ELBO_BOUND: "of the importance-weighted bound it is biased, take 'dreg'",
        }
        | _ONE_DENSITY,
        about="the encoder's, without its part of mean zero (Roeder et al., 2017)",
    ),
    "dreg": Component(
        needs={IMPORTANCE_WEIGHTS: "of the ELBO it is 'stl'"} | _ONE_DENSITY,
        about="the encoder's, doubly reparameterised (Tucker et al., 2019)",
    ),
}
