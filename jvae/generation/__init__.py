"""From latent vectors to sentences."""

from jvae.generation.beam import beam_search as beam_search
from jvae.generation.blanks import Filled as Filled
from jvae.generation.blanks import fill_blanks as fill_blanks
from jvae.generation.decoding import Generated as Generated
from jvae.generation.decoding import greedy as greedy
from jvae.generation.decoding import sample as sample
from jvae.generation.decoding import truncate as truncate
from jvae.generation.interpolation import aligned as aligned
from jvae.generation.interpolation import linear as linear
from jvae.generation.interpolation import spherical as spherical
from jvae.generation.interpolation import union as union
