"""Posteriors over mixtures: a Gaussian for each token, and Dirichlet weights that can delete it."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jvae.configs import option
from jvae.distributions.dirichlet import dirichlet_log_prob, draw_log_gamma, log_normalised
from jvae.distributions.sets import VectorSet
from jvae.errors import UserError
from jvae.posteriors.family import TokenFamily
from jvae.posteriors.tokens import (
    linear,
    standard_normal_kl,
    vectors_log_prob,
    where_present,
)
from jvae.types import Array, Key

# The limit of |log alpha|: sums of exp(69), and gradients, are finite in float32 and bfloat16.
LIMIT = math.log(1e30)

ALPHAS = ("relu", "exp")  # how pseudo-counts are made, see `nvib`


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NVIB:
    """`pi ~ Dir(alpha)` and `Z_i ~ N(means_i, diag(exp(log_vars_i)))`, independent.

    A draw has kappa impulses for each component, row `s N + i` the copy s of component i, with
    `pi ~ Dir(alpha / kappa)` over all `kappa N` rows. This is the source's two levels at once: of
    Gammas with parameters `alpha_i / kappa` the sum over s is Gamma(alpha_i), hence the sums of pi
    are Dir(alpha); and it is independent of the shares in it, which are Dir(alpha_i / kappa, ..).

    Attributes:
      means: `[B, N, P]`, N = T + 1; row 0 is the prior's component, which is never absent.
      log_vars: `[B, N, P]`.
      log_alpha: `[B, N]`, minus infinity where there is no component.
      rows: `[B]`, n of the source's KL terms: the prior's row and the sentence's tokens, dropped
        ones too.
      kappa: impulses for each component in a draw, a Python number.
    """

    means: Array
    log_vars: Array
    log_alpha: Array
    rows: Array
    kappa: int = dataclasses.field(metadata={"static": True}, default=1)

    @property
    def mean(self) -> VectorSet:
        """The mixture of Gaussians with weights `E[pi] = alpha / sum alpha`."""
        return VectorSet(self.means, log_normalised(self.log_alpha), self.log_vars)

    @property
    def pooled(self) -> Array:
        """`[B, P]`: the tokens' means, averaged by alpha; zero of no vectors."""
        return VectorSet(self.means[:, 1:], self.log_alpha[:, 1:]).pooled

    @property
    def kept(self) -> Array:
        """`[B]`: vectors of each sentence; the prior's, always there, is none of them."""
        return self.mean.count - 1

    def pruned(self, least: float) -> "NVIB":
        """Drops the components up to this alpha; the prior's stays."""
        kept = (jnp.exp(self.log_alpha) > least).at[:, 0].set(True)
        return dataclasses.replace(self, log_alpha=jnp.where(kept, self.log_alpha, -jnp.inf))

    def sample(self, keys: Key) -> VectorSet:
        """Draws `kappa N` impulses, keys `[B]`.

        The noise of a row depends on its key, component and copy, not on N.
        """
        copies, size = self.kappa, self.means.shape[-1]

        def draw(key: Key, log_alpha: Array) -> tuple[Array, Array]:
            of_vectors, of_weights = jax.random.split(key)
            # Components come first here: more of them do not move the bits of the others.
            of_copy = jnp.broadcast_to(log_alpha[:, None], (len(log_alpha), copies))
            noise = jax.random.normal(of_vectors, (*of_copy.shape, size), self.means.dtype)
            log_g = draw_log_gamma(of_weights, jnp.where(of_copy != -jnp.inf, of_copy, 0))
            return jnp.swapaxes(noise, 0, 1), jnp.where(of_copy != -jnp.inf, log_g, -jnp.inf).T

        noise, log_g = jax.vmap(draw)(keys, self.log_alpha - math.log(copies))
        means, log_vars = self._tiled(self.means), self._tiled(self.log_vars)
        log_pi = log_normalised(log_g.reshape(means.shape[:-1]))
        vectors = means + jnp.exp(0.5 * log_vars) * noise.reshape(means.shape)
        return VectorSet(where_present(log_pi, vectors), log_pi)

    def log_prob(self, z: VectorSet) -> Array:
        """Returns `log Dir(pi; alpha / kappa) + sum_i log N(Z_i)`, `[..., B]`, nats.

        The density is that of pi as a point of the simplex, all coordinates but one. Minus infinity
        where z has other rows.
        """
        log_alpha = jnp.tile(self.log_alpha, self.kappa) - math.log(self.kappa)
        of_weights = dirichlet_log_prob(z.log_weights, log_alpha)
        means, log_vars = self._tiled(self.means), self._tiled(self.log_vars)
        return of_weights + vectors_log_prob(z, means, log_vars, log_alpha)

    def _tiled(self, rows: Array) -> Array:
        return jnp.tile(rows, (self.kappa, 1))


def gaussian_kl(q: NVIB) -> Array:
    """`KL_G = kappa / P sum_i w_i KL(N_i || N(0, I))`, `w = alpha / sum alpha`: `[B]`.

    A mean over dimensions and weights: times `n P` it is of the source's `k0 = kappa n` draws, in
    nats. Of log variances up to 80 that product is finite in float32 for a sentence while
    `kappa n P` is below 1e4; its sum over a batch overflows earlier.

    References:
      Henderson and Fehr (2023), as their code has it.
    """
    rows = standard_normal_kl(q.means, q.log_vars) / q.means.shape[-1]
    return q.kappa * jnp.sum(jnp.exp(q.mean.log_weights) * rows, axis=-1)


class NVIBHead(nn.Module):
    """Hidden states `[B, T, H]` -> NVIB posteriors with one component for each token.

    Means and log variances are linear in the state; of alpha see `nvib`.

    Attributes:
      latent_size: P.
      alpha: "relu" or "exp", see `nvib`.
      kappa: draws for each component.
      prior_alpha: of row 0, whose mean is 0 and whose variance is 1.
      prune: components up to this alpha are absent outside training. What the KL terms cost then
        differs from training, unless nothing but a ReLU's zeros is absent: 0.
      start: all alphas before training.
    """

    latent_size: int
    alpha: str
    kappa: int
    prior_alpha: float
    prune: float
    start: float = 1.0

    @nn.compact
    def __call__(
        self, hidden: Array, mask: Array, *, train: bool, log_skip: Array | float = 0.0
    ) -> NVIB:
        """Makes the posteriors.

        Args:
          hidden: `[B, T, H]`.
          mask: `[B, T]`, True of real tokens.
          train: whether nothing is pruned.
          log_skip: `[B, T]`, what "exp" adds to log alpha.
        """
        log_alpha = jnp.where(mask, self._log_alpha(hidden, log_skip), -jnp.inf)
        means, log_vars = (
            jnp.where(mask[..., None], linear(self.latent_size, name)(hidden), 0)
            for name in ("mean", "log_var")
        )
        first = [(0, 0), (1, 0)]  # the prior's component
        q = NVIB(
            jnp.pad(means, [*first, (0, 0)]),
            jnp.pad(log_vars, [*first, (0, 0)]),
            jnp.pad(log_alpha, first, constant_values=math.log(self.prior_alpha)),
            1 + jnp.sum(mask, axis=-1, dtype=means.dtype),
            self.kappa,
        )
        return q if train else q.pruned(self.prune)

    def _log_alpha(self, hidden: Array, log_skip: Array | float) -> Array:
        # All alphas start alike: with the source's Xavier kernel half of the ReLUs would start
        # dead, without a gradient. Adam moves every weight alike, whatever H and the start: of
        # states not scaled down, or added to a small start, a few steps would take all alphas
        # below 0 at once, and for good.
        zeros, size = nn.initializers.zeros, hidden.shape[-1]
        linear = nn.Dense(1, kernel_init=zeros, name="alpha")(hidden / math.sqrt(size))[..., 0]
        if self.alpha == "relu":
            share = 1 + linear
            logs = math.log(self.start) + jnp.log(jnp.where(share > 0, share, 1))
            return jnp.where(share > 0, jnp.clip(logs, -LIMIT, LIMIT), -jnp.inf)
        squares = jnp.square(hidden) / size
        quadratic = nn.Dense(1, kernel_init=zeros, use_bias=False, name="alpha_quadratic")(squares)
        logs = math.log(self.start) + linear + quadratic[..., 0] + log_skip
        return jnp.clip(logs, -LIMIT, LIMIT)


def nvib(
    *,
    latent_size: int,
    alpha: str = "relu",
    kappa: int = 1,
    prior_alpha: float = 1.0,
    prune: float = 0.0,
    start: float = 1.0,
) -> TokenFamily:
    """Makes nonparametric information bottlenecks: as many vectors as a sentence needs.

    Args:
      latent_size: P.
      alpha: how the pseudo-counts are made of a state h of H units. "relu":
        `start max(0, 1 + w'h / sqrt(H) + b)`, where 0 deletes the vector, in training, too; "exp",
        of the later code: `start exp(w'h / sqrt(H) + v'h^2 / H + b)`, never 0. w, v and b are 0
        before training.
      kappa: draws for each component.
      prior_alpha: of the prior's component, the prior's own.
      prune: vectors up to this alpha are deleted outside training; 0 for none but those of alpha 0.
      start: all alphas before training; at the prior's delta KL_D starts at 0.

    Raises:
      UserError: an option is not one of these.

    References:
      Henderson and Fehr (2023), A VAE for Transformers with Nonparametric Variational Information
      Bottleneck. Their samplers of Gamma variables are approximate and biased, ours is exact.
    """
    if alpha not in ALPHAS:
        raise UserError(f"nvib's alpha is {alpha!r}: give {' or '.join(ALPHAS)}")
    if kappa < 1 or min(prior_alpha, start) <= 0 or prune < 0:
        raise UserError(
            "nvib: kappa is at least 1, prune at least 0; prior_alpha and start are above 0"
        )
    return TokenFamily(NVIBHead(latent_size, alpha, kappa, prior_alpha, prune, start))


@dataclasses.dataclass(frozen=True)
class NVIBOptions:
    """Options of NVIB: of the posterior, of its prior, and of an encoder's NVIB layers."""

    alpha: str = option("relu", "function that makes pseudo-counts", choices=ALPHAS)
    kappa: int = option(1, "draws of each vector", above=0)
    delta: float = option(1.0, "pseudo-counts that the prior expects of each token", at_least=0)
    start: float = option(0.0, "pseudo-counts of a token before training; 0: delta", at_least=0)
    prior_alpha: float = option(1.0, "pseudo-counts of the prior's vector", above=0)
    prune: float = option(
        0.0,
        "up to this alpha a vector is absent outside training; 0: with relu those of alpha 0 "
        "alone, with exp and in NVIB layers up to 0.4 * delta",
        at_least=0,
    )

    @property
    def expected(self) -> float:
        """Returns the expected pseudo-counts of a token."""
        return self.delta or 1.0

    def threshold(self, alpha: str) -> float:
        """Returns up to which pseudo-count a vector is absent outside training.

        Those of "exp" are never 0, and count as 0 up to a share of what the prior expects: the
        source's 0.1 with its delta 0.25.
        """
        return self.prune or (0.4 * self.expected if alpha == "exp" else 0.0)


def build_nvib(options: NVIBOptions, shared: Any) -> TokenFamily:
    """Builds the family of a configuration."""
    return nvib(
        latent_size=shared.latent_size,
        alpha=options.alpha,
        kappa=options.kappa,
        prior_alpha=options.prior_alpha,
        start=options.start or options.expected,
        prune=options.threshold(options.alpha),
    )
