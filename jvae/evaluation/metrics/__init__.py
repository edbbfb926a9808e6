"""Metrics, one file each."""

from jvae.evaluation.metric import Metric
from jvae.evaluation.metrics.active_units import ACTIVE_UNITS as ACTIVE_UNITS
from jvae.evaluation.metrics.classes import CLASSES as CLASSES
from jvae.evaluation.metrics.importance import IMPORTANCE as IMPORTANCE
from jvae.evaluation.metrics.latent_use import LATENT_USE as LATENT_USE
from jvae.evaluation.metrics.likelihood import LIKELIHOOD as LIKELIHOOD
from jvae.evaluation.metrics.mmd import MMD as MMD
from jvae.evaluation.metrics.mutual_information import MUTUAL_INFORMATION as MUTUAL_INFORMATION
from jvae.evaluation.metrics.vectors import VECTORS as VECTORS
from jvae.evaluation.metrics.verdict import VERDICT as VERDICT

# In the order of the table.
VAE_METRICS: tuple[Metric, ...] = (
    IMPORTANCE,
    LIKELIHOOD,
    MUTUAL_INFORMATION,
    ACTIVE_UNITS,
    MMD,
    VECTORS,
    CLASSES,
    LATENT_USE,
    VERDICT,
)
