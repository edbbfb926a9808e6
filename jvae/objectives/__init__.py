"""Objectives: terms per example, the losses made of them, and what training minimises."""

from jvae.objectives.elbo import ELBOTerms as ELBOTerms
from jvae.objectives.elbo import elbo as elbo
from jvae.objectives.elbo import init as init
from jvae.objectives.importance import importance_weights as importance_weights
from jvae.objectives.importance import iw_log_likelihood as iw_log_likelihood
from jvae.objectives.losses import Loss as Loss
from jvae.objectives.losses import Scheduled as Scheduled
from jvae.objectives.losses import batch_mean as batch_mean
from jvae.objectives.losses import negative_elbo as negative_elbo
from jvae.objectives.losses import negative_elbo_by_name as negative_elbo_by_name
from jvae.objectives.objective import Groups as Groups
from jvae.objectives.objective import Objective as Objective
from jvae.objectives.objective import Outcome as Outcome
from jvae.objectives.objective import Terms as Terms
from jvae.objectives.objective import add_losses as add_losses
from jvae.objectives.objective import bound_objective as bound_objective
from jvae.objectives.objective import gradient_of as gradient_of
