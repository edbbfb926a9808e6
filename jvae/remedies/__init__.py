"""Remedies for posterior collapse, one file each."""

from jvae.remedies.aggressive import InnerLoop as InnerLoop
from jvae.remedies.aggressive import aggressive_update as aggressive_update
from jvae.remedies.batch_norm import batch_norm as batch_norm
from jvae.remedies.committed_rate import committed_rate as committed_rate
from jvae.remedies.kl_schedules import KL_SCHEDULES as KL_SCHEDULES
