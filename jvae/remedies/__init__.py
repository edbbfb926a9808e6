"""Remedies for posterior collapse, one file each."""

from jvae.remedies.aggressive import InnerLoop as InnerLoop
from jvae.remedies.aggressive import aggressive_update as aggressive_update
from jvae.remedies.bag_of_words import bag_of_words_loss as bag_of_words_loss
from jvae.remedies.bag_of_words import with_bag_of_words as with_bag_of_words
from jvae.remedies.denoising import NOISES as NOISES
from jvae.remedies.denoising import with_denoising as with_denoising
from jvae.remedies.kl_schedules import KL_SCHEDULES as KL_SCHEDULES
