"""Remedies for posterior collapse, one file each."""

from jvae.remedies.adversarial import with_adversary as with_adversary
from jvae.remedies.aggregate import KERNELS as KERNELS
from jvae.remedies.aggregate import with_mmd as with_mmd
from jvae.remedies.aggregate import with_mutual_information as with_mutual_information
from jvae.remedies.aggressive import InnerLoop as InnerLoop
from jvae.remedies.aggressive import aggressive_update as aggressive_update
from jvae.remedies.bag_of_words import with_bag_of_words as with_bag_of_words
from jvae.remedies.batch_norm import batch_norm as batch_norm
from jvae.remedies.capacity import capacity as capacity
from jvae.remedies.committed_rate import committed_rate as committed_rate
from jvae.remedies.denoising import NOISES as NOISES
from jvae.remedies.denoising import with_denoising as with_denoising
from jvae.remedies.diversity import diversity as diversity
from jvae.remedies.free_bits import FREE_BITS_FORMS as FREE_BITS_FORMS
from jvae.remedies.free_bits import FREE_BITS_MODES as FREE_BITS_MODES
from jvae.remedies.free_bits import free_bits as free_bits
from jvae.remedies.iwae import iwae as iwae
from jvae.remedies.iwae import negative_iwae as negative_iwae
from jvae.remedies.kl_schedules import KL_SCHEDULES as KL_SCHEDULES
from jvae.remedies.kl_schedules import RAMPS as RAMPS
from jvae.remedies.path_gradient import stick_the_landing as stick_the_landing
from jvae.remedies.rate_control import RATE_CONTROLS as RATE_CONTROLS
from jvae.remedies.rate_control import RateControl as RateControl
from jvae.remedies.rate_control import with_rate_control as with_rate_control
from jvae.remedies.semi_amortised import semi_amortised as semi_amortised
