"""Variational autoencoders of text in JAX and Flax.

The public names. Importing them draws no plots, opens no corpora and writes no logs: those parts
have their modules (`jvae.data`, `jvae.evaluation`, `jvae.generation`, `jvae.training`), which
`load_run` and `train` import when they are called.
"""

from jvae.api import load_run as load_run
from jvae.api import train as train
from jvae.batch import Batch as Batch
from jvae.batch import Counts as Counts
from jvae.batch import Labels as Labels
from jvae.batch import Pixels as Pixels
from jvae.batch import Tokens as Tokens
from jvae.batch import text_batch as text_batch
from jvae.decoders.cnn import cnn_decoder as cnn_decoder
from jvae.decoders.lstm import LSTMDecoder as LSTMDecoder
from jvae.decoders.lstm import lstm_decoder as lstm_decoder
from jvae.decoders.transformer import transformer_decoder as transformer_decoder
from jvae.distributions import Delta as Delta
from jvae.distributions import DiagonalGaussian as DiagonalGaussian
from jvae.distributions import NoLatent as NoLatent
from jvae.distributions import VectorSet as VectorSet
from jvae.distributions import kl_divergence as kl_divergence
from jvae.encoders.lstm import LSTMEncoder as LSTMEncoder
from jvae.encoders.lstm import lstm_encoder as lstm_encoder
from jvae.encoders.none import no_encoder as no_encoder
from jvae.encoders.transformer import transformer_encoder as transformer_encoder
from jvae.errors import UserError as UserError
from jvae.estimators import enumeration as enumeration
from jvae.estimators import pathwise as pathwise
from jvae.layers.denoising import denoising_attention as denoising_attention
from jvae.model import VAE as VAE
from jvae.model import Conditioner as Conditioner
from jvae.model import Decoder as Decoder
from jvae.model import Encoder as Encoder
from jvae.model import Inference as Inference
from jvae.model import Prior as Prior
from jvae.model import Steps as Steps
from jvae.model import decoder_from_module as decoder_from_module
from jvae.model import encoder_from_module as encoder_from_module
from jvae.objectives import ELBOTerms as ELBOTerms
from jvae.objectives import Objective as Objective
from jvae.objectives import Outcome as Outcome
from jvae.objectives import batch_mean as batch_mean
from jvae.objectives import bound_objective as bound_objective
from jvae.objectives import elbo as elbo
from jvae.objectives import importance_weights as importance_weights
from jvae.objectives import init as init
from jvae.objectives import iw_log_likelihood as iw_log_likelihood
from jvae.objectives import negative_elbo as negative_elbo
from jvae.posteriors import diagonal as diagonal
from jvae.posteriors import full as full
from jvae.posteriors import iaf as iaf
from jvae.posteriors import nvib as nvib
from jvae.posteriors import planar as planar
from jvae.posteriors import vmf as vmf
from jvae.posteriors import vt as vt
from jvae.posteriors import vts as vts
from jvae.priors import dirichlet_process as dirichlet_process
from jvae.priors import fitted_normal as fitted_normal
from jvae.priors import mixture as mixture
from jvae.priors import normal_set as normal_set
from jvae.priors import standard_normal as standard_normal
from jvae.priors import uniform_sphere as uniform_sphere
from jvae.priors import vamp as vamp

__all__ = [
    "VAE",
    "Batch",
    "Conditioner",
    "Counts",
    "Decoder",
    "Delta",
    "DiagonalGaussian",
    "ELBOTerms",
    "Encoder",
    "Inference",
    "LSTMDecoder",
    "LSTMEncoder",
    "Labels",
    "NoLatent",
    "Objective",
    "Outcome",
    "Pixels",
    "Prior",
    "Steps",
    "Tokens",
    "UserError",
    "VectorSet",
    "batch_mean",
    "bound_objective",
    "cnn_decoder",
    "decoder_from_module",
    "denoising_attention",
    "diagonal",
    "dirichlet_process",
    "elbo",
    "encoder_from_module",
    "enumeration",
    "fitted_normal",
    "full",
    "iaf",
    "importance_weights",
    "init",
    "iw_log_likelihood",
    "kl_divergence",
    "load_run",
    "lstm_decoder",
    "lstm_encoder",
    "mixture",
    "negative_elbo",
    "no_encoder",
    "normal_set",
    "nvib",
    "pathwise",
    "planar",
    "standard_normal",
    "text_batch",
    "train",
    "transformer_decoder",
    "transformer_encoder",
    "uniform_sphere",
    "vamp",
    "vmf",
    "vt",
    "vts",
]
