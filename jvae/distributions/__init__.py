"""Families of posteriors and priors, and what is asked of them."""

from jvae.distributions.base import Distribution as Distribution
from jvae.distributions.base import closed_form_kl as closed_form_kl
from jvae.distributions.base import has_density as has_density
from jvae.distributions.base import is_empty as is_empty
from jvae.distributions.base import is_factorised_gaussian as is_factorised_gaussian
from jvae.distributions.base import kl_divergence as kl_divergence
from jvae.distributions.base import sample_and_log_prob as sample_and_log_prob
from jvae.distributions.base import surrogate_kl as surrogate_kl
from jvae.distributions.gaussian import Delta as Delta
from jvae.distributions.gaussian import DiagonalGaussian as DiagonalGaussian
from jvae.distributions.gaussian import NoLatent as NoLatent
from jvae.distributions.sets import VectorSet as VectorSet
