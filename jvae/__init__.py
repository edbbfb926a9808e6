"""Variational autoencoders of text in JAX and Flax.

The public names. Nothing here draws plots, opens corpora or writes logs: those parts are imported
from their own modules (`jvae.data`, `jvae.evaluation`, `jvae.generation`, `jvae.training`).
"""

from jvae.decoders.lstm import LSTMDecoder as LSTMDecoder
from jvae.decoders.lstm import lstm_decoder as lstm_decoder
from jvae.distributions import Delta as Delta
from jvae.distributions import DiagonalGaussian as DiagonalGaussian
from jvae.encoders.lstm import LSTMEncoder as LSTMEncoder
from jvae.encoders.lstm import lstm_encoder as lstm_encoder
from jvae.encoders.none import no_encoder as no_encoder
from jvae.errors import UserError as UserError
from jvae.layers.denoising import denoising_attention as denoising_attention
from jvae.objectives.elbo import ELBOTerms as ELBOTerms
from jvae.objectives.elbo import elbo as elbo
from jvae.objectives.elbo import init as init
from jvae.objectives.elbo import kl_divergence as kl_divergence
from jvae.objectives.importance import importance_weights as importance_weights
from jvae.objectives.importance import iw_log_likelihood as iw_log_likelihood
from jvae.objectives.losses import negative_elbo as negative_elbo
from jvae.priors.standard_normal import standard_normal as standard_normal
from jvae.sets import VectorSet as VectorSet
from jvae.types import Batch as Batch
from jvae.vae import VAE as VAE
from jvae.vae import Decoder as Decoder
from jvae.vae import Encoder as Encoder
from jvae.vae import Prior as Prior
from jvae.vae import decoder_from_module as decoder_from_module
from jvae.vae import encoder_from_module as encoder_from_module

__all__ = [
    "VAE",
    "Batch",
    "Decoder",
    "Delta",
    "DiagonalGaussian",
    "ELBOTerms",
    "Encoder",
    "LSTMDecoder",
    "LSTMEncoder",
    "Prior",
    "UserError",
    "VectorSet",
    "decoder_from_module",
    "denoising_attention",
    "elbo",
    "encoder_from_module",
    "importance_weights",
    "init",
    "iw_log_likelihood",
    "kl_divergence",
    "lstm_decoder",
    "lstm_encoder",
    "negative_elbo",
    "no_encoder",
    "standard_normal",
]
