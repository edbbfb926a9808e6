"""Objectives: per-sentence terms, and the losses made of them."""

from jvae.objectives.elbo import ELBOTerms as ELBOTerms
from jvae.objectives.elbo import elbo as elbo
from jvae.objectives.elbo import init as init
from jvae.objectives.elbo import kl_divergence as kl_divergence
from jvae.objectives.importance import importance_weights as importance_weights
from jvae.objectives.importance import iw_log_likelihood as iw_log_likelihood
from jvae.objectives.losses import Loss as Loss
from jvae.objectives.losses import Scheduled as Scheduled
from jvae.objectives.losses import negative_elbo as negative_elbo
from jvae.objectives.losses import negative_elbo_by_name as negative_elbo_by_name
