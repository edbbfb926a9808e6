"""Mixtures of impulses with Dirichlet weights, and how many there are: the prior of NVIB."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jvae.components import NoOptions
from jvae.distributions.dirichlet import dirichlet_log_prob, symmetric_dirichlet_kl
from jvae.distributions.sets import VectorSet
from jvae.errors import UserError
from jvae.model import Prior
from jvae.posteriors.nvib import NVIB, gaussian_kl
from jvae.posteriors.tokens import vectors_log_prob
from jvae.priors.normal_set import count_present, counted, draw_count, log_count_prob
from jvae.types import Array, Key, Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DirichletProcess:
    """`p(n) Dir(pi; b/K, .., b/K) prod_i N(Z_i; 0, I)`, `b = prior_alpha + delta n`.

    Over `K = kappa (n + 1)` impulses: of n vectors and of the prior's own component.

    Attributes:
      logits: of n, `[max_count + 1]`.
      latent_size: P; this and what follows are Python numbers.
      delta: pseudo-counts that a vector adds.
      prior_alpha: pseudo-counts without one.
      kappa: impulses for each component.
    """

    logits: Array
    latent_size: int = dataclasses.field(metadata={"static": True})
    delta: float = dataclasses.field(metadata={"static": True})
    prior_alpha: float = dataclasses.field(metadata={"static": True})
    kappa: int = dataclasses.field(metadata={"static": True})

    def log_total(self, n: Array) -> Array:
        """`log b`."""
        return jnp.log(self.prior_alpha + self.delta * n)

    def sample(self, keys: Key) -> VectorSet:
        """Draws n, then the impulses; keys `[B]` -> `kappa (max_count + 1)` rows each."""
        of_count, of_rows = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        n = draw_count(of_count, self.logits)[:, None]
        each = self.log_total(n) - jnp.log1p(n.astype(self.logits.dtype))
        log_alpha = jnp.where(jnp.arange(len(self.logits)) <= n, each, -jnp.inf)
        zeros = jnp.zeros((*log_alpha.shape, self.latent_size))
        return NVIB(zeros, zeros, log_alpha, n[:, 0] + 1, self.kappa).sample(of_rows)

    def log_prob(self, z: VectorSet) -> Array:
        """Returns `log p(n) + log Dir(pi) + sum_i log N(Z_i; 0, I)`, `[..., B]`, nats.

        Which of the rows are absent does not matter, only how many are there.
        """
        n = count_present(z.log_weights) // self.kappa - 1
        each = self.log_total(n) - jnp.log(self.kappa * (n + 1))
        log_alpha = jnp.where(z.present, each[..., None], -jnp.inf)
        of_weights = dirichlet_log_prob(z.log_weights, log_alpha)
        zero = jnp.zeros((), z.vectors.dtype)
        of_vectors = vectors_log_prob(z, zero, zero, z.log_weights)
        return log_count_prob(self.logits, n) + of_weights + of_vectors

    def surrogate_from(self, q: Any) -> dict[str, Array]:
        """Returns the source's two KL terms, and `-log p(n)` of the vectors kept.

        They are not `KL(q || p)`.
        """
        if not isinstance(q, NVIB):
            return NotImplemented
        length = -log_count_prob(self.logits, count_present(q.log_alpha) - 1)
        return mixture_kl(q, self.log_total(q.rows - 1)) | {"length": length}


def dirichlet_kl(q: NVIB, log_b: Array) -> Array:
    """`KL_D = 1/n KL(Dir(a/k0, ..) || Dir(b/k0, ..))`, `a = sum alpha`, `k0 = kappa n`: `[B]`.

    It depends on the total alone: its spread costs nothing. n counts dropped vectors, too, and b
    `[B]` is of the `n - 1` tokens.

    References:
      Henderson and Fehr (2023), as their code has it.
    """
    log_a = jax.nn.logsumexp(q.log_alpha, axis=-1)
    return symmetric_dirichlet_kl(log_a, log_b, q.kappa * q.rows) / q.rows


def mixture_kl(q: NVIB, log_b: Array) -> dict[str, Array]:
    """Computes the source's two terms by name, nats per sentence, `[B]`; b: see `dirichlet_kl`."""
    return {
        "gaussian": q.rows * q.means.shape[-1] * gaussian_kl(q),
        "dirichlet": q.rows * dirichlet_kl(q, log_b),
    }


def dirichlet_process(
    *,
    latent_size: int,
    max_count: int,
    delta: float = 1.0,
    prior_alpha: float = 1.0,
    kappa: int = 1,
) -> Prior:
    """Makes a set of n vectors: `pi ~ Dir(b/K, ..)`, `K = kappa (n + 1)` impulses `Z_i ~ N(0, I)`.

    p(n) is learned, uniform at first. F being pi and Z of the rows that are there, a model with it
    is `p(x) = sum_n p(n) p(x | n)`, `p(x | n) = int p(x | F) p(F | n) dF`. A posterior has a number
    of rows n(x) that follows from x without noise: vectors of alpha 0 are no part of F, and cost
    nothing but through p(n). With `F ~ q(F | x)` and

    ```
    w = p(n(x)) p(F | n(x)) p(x | F) / q(F | x),    E w = p(n(x)) p(x | n(x)) <= p(x),
    ```

    as q and `p(F | n(x))` are densities on one space, the simplex of K weights times K vectors. The
    mean of log w is a lower bound of log E w, and the log of a mean of weights comes to
    `log p(n(x)) + log p(x | n(x))` from below: both are strict bounds of log p(x), which at best
    lack `-log p(n(x) | x)`. Which tokens are kept costs nothing, as impulses have no order.

    The source's KL terms, `DirichletProcess.surrogate_from`, are not `KL(q || p)`.

    Args:
      latent_size: P.
      max_count: the largest n. Of more vectors the probability is 0.
      delta: pseudo-counts that a vector adds; 0 is the plain Dirichlet process.
      prior_alpha: pseudo-counts without one.
      kappa: impulses for each component, the posterior's own.

    Raises:
      UserError: `prior_alpha` is not above 0, or delta is below.

    References:
      Henderson and Fehr (2023), A VAE for Transformers with Nonparametric Variational Information
      Bottleneck; they draw prior samples with uniform weights, we draw pi.
    """
    if prior_alpha <= 0 or delta < 0:
        raise UserError("dirichlet_process: prior_alpha is above 0, and delta at least 0")

    def init(key: Key) -> Params:
        return {"logits": jnp.zeros(max_count + 1)}

    def apply(params: Params, context: Any = None) -> DirichletProcess:
        logits = params["prior"]["logits"]
        return DirichletProcess(logits, latent_size, delta, prior_alpha, kappa)

    return Prior(init, apply, *counted(max_count))


def build_dirichlet_process(options: NoOptions, shared: Any) -> Prior:
    """Builds the prior of a configuration."""
    del options
    return dirichlet_process(
        latent_size=shared.latent_size,
        max_count=shared.max_count,
        delta=shared.nvib.delta,
        prior_alpha=shared.nvib.prior_alpha,
        kappa=shared.nvib.kappa,
    )
