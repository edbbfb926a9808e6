"""Fields of the configuration that evaluation reads."""

import dataclasses
from typing import Any, NamedTuple

from jvae.components import Group
from jvae.configs import option


@dataclasses.dataclass(frozen=True)
class EvaluationOptions:
    """Options of a finished run's evaluation; `mi_batch_size` holds after each epoch, too."""

    split: str = option(
        "test",
        "split that is evaluated; valid for choices that must not see the test split",
        choices=("test", "valid"),
        free=True,
    )
    batch_size: int = option(64, "examples at once", above=0, free=True)
    mi_batch_size: int = option(
        32, "examples whose aggregate posterior MI (batch) compares with", above=0
    )
    iw_samples: int = option(500, "K, importance samples of each example", above=0, free=True)
    iw_tolerance: float = option(
        0.0,
        "nats: fewer samples as soon as the rest would change the mean IW-NLL by less; 0 for all",
        at_least=0,
        free=True,
    )
    iw_examples: int = option(
        0, "importance weights of the first so many examples; 0 for all", at_least=0, free=True
    )
    iw_batch_size: int = option(
        8, "examples weighed at once; each costs K samples", above=0, free=True
    )
    memory_mb: int = option(
        64,
        "memory of a device for samples decoded at once; on a GPU or TPU take more",
        above=0,
        free=True,
    )
    num_examples: int = option(10, "examples that the report shows", above=0, free=True)


EVALUATION = Group("evaluation", EvaluationOptions)


class EvaluationSettings(NamedTuple):
    """Sizes of an evaluation, see `EvaluationOptions`.

    Attributes:
      mi_batch_size: examples whose aggregate posterior MI (batch) compares with.
      iw_samples: K.
      iw_batch_size: examples weighed at once; few, for a batch is padded to so many rows and each
        row costs K samples.
      iw_examples: importance weights of the first so many examples; 0 for all.
      iw_chunk: samples decoded at once; a matter of memory only.
      iw_tolerance: fewer samples suffice as soon as the rest would lower the mean IW-NLL by less,
        nats; 0 for all K.
      seed: of the partner whose z an example is given.
    """

    mi_batch_size: int = 32
    iw_samples: int = 500
    iw_batch_size: int = 8
    iw_examples: int = 0
    iw_chunk: int = 50
    iw_tolerance: float = 0.0
    seed: int = 0


def make_evaluation_settings(config: Any, *, iw_chunk: int = 50) -> EvaluationSettings:
    """Reads the settings of a whole configuration.

    Args:
      config: with the groups "evaluation" and "training", whose seed it takes.
      iw_chunk: importance samples decoded at once.
    """
    options = config.evaluation
    return EvaluationSettings(
        mi_batch_size=options.mi_batch_size,
        iw_samples=options.iw_samples,
        iw_batch_size=options.iw_batch_size,
        iw_examples=options.iw_examples,
        iw_chunk=iw_chunk,
        iw_tolerance=options.iw_tolerance,
        seed=config.training.seed,
    )
