"""The standard normal of training, replaced afterwards by the Gaussian of all posteriors."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jvae.distributions import DiagonalGaussian
from jvae.model import Prior
from jvae.types import Array, Key, Params


class CorrelatedGaussian(NamedTuple):
    """`N(mean, C C')`, one for all examples.

    Attributes:
      mean: `[L]`.
      factor: C, lower triangular, `[L, L]`.
    """

    mean: Array
    factor: Array

    def sample(self, keys: Key) -> Array:
        """Returns `mean + C noise`, keys `[B]` -> `[B, L]`."""
        size, dtype = self.mean.shape[-1], self.mean.dtype
        noise = jax.vmap(lambda key: jax.random.normal(key, (size,), dtype))(keys)
        return self.mean + noise @ self.factor.T

    def log_prob(self, z: Array) -> Array:
        """Returns `log N(z; mean, C C')`, `[..., B, L]` -> `[..., B]`, nats."""
        scales = jnp.log(jnp.diagonal(self.factor)) + 0.5 * jnp.log(2 * jnp.pi)
        return -jnp.sum(0.5 * jnp.square((z - self.mean) @ self._whitening()) + scales, axis=-1)

    def kl_from(self, q: Any) -> Array:
        """Returns `[B, L]`, nats, of a `DiagonalGaussian`, else NotImplemented.

        The chain rule splits the KL over dimensions: `E_q KL(q(z_l) || p(z_l | z_1 .. z_l-1))`,
        none of them negative.
        """
        if not isinstance(q, DiagonalGaussian):
            return NotImplemented
        whitening = self._whitening()
        squared = jnp.square((q.mean - self.mean) @ whitening)
        spread = jnp.exp(q.log_var) @ jnp.square(whitening)
        scales = 2 * jnp.log(jnp.diagonal(self.factor))
        return 0.5 * (squared + spread - 1 + scales - q.log_var)

    def _whitening(self) -> Array:
        """Returns `C^-1'`, `[L, L]`: the rows of `(z - mean) C^-1'` are standard normal."""
        identity = jnp.eye(self.factor.shape[-1], dtype=self.factor.dtype)
        return jax.scipy.linalg.solve_triangular(self.factor, identity, lower=True).T


def fitted_normal(*, latent_size: int) -> Prior:
    """Makes `N(0, I)` for training, and `N(m, S)` of the posteriors for evaluation and sampling.

    ```
    m = E[mean(x)],   S = Cov[mean(x)] + E[diag(var(x))]
    ```

    over the training split: of all Gaussians this one has the least mean KL from the posteriors. A
    bound like batch normalisation of the means holds the KL to `N(0, I)` up, wherever z is worth
    it; correlated units then pay twice for what they share. The fit takes that back, so the KL is
    lower afterwards, the reconstruction the same, and samples come from where the decoder knows z.
    Training and its validation lines have the KL to `N(0, I)`.

    Args:
      latent_size: L.

    References:
      The fit is ours. Hoffman and Johnson (2016), ELBO surgery, show what it removes: the part of
      the KL between the mean of the posteriors and the prior.
    """

    def init(key: Key) -> Params:
        # C is kept without the identity: all starts at 0.
        return {"mean": jnp.zeros(latent_size), "factor": jnp.zeros((latent_size, latent_size))}

    def apply(params: Params, context: Any = None) -> CorrelatedGaussian:
        own = jax.lax.stop_gradient(params["prior"])
        return CorrelatedGaussian(own["mean"], own["factor"] + jnp.eye(latent_size))

    def observe(q: DiagonalGaussian, weight: Array) -> dict[str, Array]:
        weighted = weight[:, None] * q.mean
        return {
            "rows": jnp.sum(weight),
            "mean": jnp.sum(weighted, axis=0),
            "square": weighted.T @ q.mean + jnp.diag(weight @ jnp.exp(q.log_var)),
        }

    def fit(params: Params, statistics: Any) -> Params:
        rows = statistics["rows"]
        mean = statistics["mean"] / rows
        covariance = statistics["square"] / rows - np.outer(mean, mean)
        fitted = {"mean": mean, "factor": np.linalg.cholesky(covariance) - np.eye(latent_size)}
        return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), fitted, params)

    return Prior(init, apply, observe, fit)
