"""Gamma and Dirichlet variables with parameters of any size: draws, densities, a divergence.

Everything is in logs: of a small parameter the variable itself underflows, of a large one the
leading terms of `lgamma` cancel. What is absent has a log of minus infinity, and no gradient.
"""

import math

import jax
import jax.numpy as jnp

from jvae.types import Array, Key

# From here on the cube root of a Gamma variable is normal to float32's last digit.
LARGE = 1e5
# The series below are for arguments from here on.
_SHIFT = 8
_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def draw_log_gamma(key: Key, log_alpha: Array) -> Array:
    """Logs of independent Gamma(alpha, 1) variables, reparameterised; of `log_alpha`'s shape.

    `log g = log g' + log(u) / alpha`, g' from Gamma(alpha + 1): exact, and its gradient is too.
    For alpha above `LARGE` it is `wilson_hilferty`.

    Args:
      key: the draws of the first rows do not depend on how many follow.
      log_alpha: finite, between -69 and 69.

    References:
      Marsaglia and Tsang (2000), A simple method for generating gamma variables, section 8.
      Wilson and Hilferty (1931), The distribution of chi-square.
    """
    of_gamma, of_noise = jax.random.split(key)
    dtype, large = log_alpha.dtype, log_alpha > math.log(LARGE)
    small_log = jnp.where(large, 0, log_alpha)  # either branch sees what it can bear
    noise = jax.random.normal(of_noise, (*log_alpha.shape, 2), dtype)
    log_uniform = -0.5 * jnp.sum(jnp.square(noise), axis=-1)  # of two normal variables
    boosted = jax.random.loggamma(of_gamma, jnp.exp(small_log) + 1, dtype=dtype)
    boosted += log_uniform * jnp.exp(-small_log)
    cube = wilson_hilferty(jnp.where(large, log_alpha, math.log(LARGE)), noise[..., 0])
    return jnp.where(large, cube, boosted)


def wilson_hilferty(log_alpha: Array, noise: Array) -> Array:
    """`log alpha + 3 log(1 - 1/(9 alpha) + noise / (3 sqrt(alpha)))` for large alpha."""
    deviation = jnp.exp(-0.5 * log_alpha) / 3
    return log_alpha + 3 * jnp.log1p(deviation * noise - jnp.square(deviation))


def log_normalised(log_weights: Array) -> Array:
    """`log(w_i / sum_j w_j)` over the last axis; absent stays absent."""
    total = jax.nn.logsumexp(log_weights, axis=-1, keepdims=True)
    return jnp.where(log_weights != -jnp.inf, log_weights - total, -jnp.inf)


def dirichlet_log_prob(log_pi: Array, log_alpha: Array) -> Array:
    """`log Dir(pi; alpha)` of the rows that are there, `[..., K]` -> `[...]`, nats.

    The normaliser's `alpha log alpha` cancels against `alpha log pi`: with `a = sum alpha` and
    `d_i = log(pi_i a / alpha_i)` they leave `sum_i alpha_i (d_i + 1 - exp(d_i))`, which has no
    large parts, as `sum_i alpha_i exp(d_i) = a`. For alpha above 1e9 float32's `log_pi` has not the
    digits.
    """
    present = (log_alpha != -jnp.inf) & (log_pi != -jnp.inf)
    log_alpha = jnp.where(present, log_alpha, -jnp.inf)
    log_total = jax.nn.logsumexp(log_alpha, axis=-1, keepdims=True)
    log_alpha, log_pi = (jnp.where(present, logs, 0) for logs in (log_alpha, log_pi))
    alpha, constant = jnp.exp(log_alpha), 0.5 * math.log(2 * math.pi)
    ratio = log_pi - log_alpha + log_total
    terms = alpha * (ratio - jnp.expm1(jnp.minimum(ratio, 80))) + 0.5 * log_alpha - log_pi
    terms = jnp.where(present, terms - binet(alpha) - constant, 0)
    total = constant - 0.5 * log_total + binet(jnp.exp(log_total))
    return jnp.sum(terms, axis=-1) + total[..., 0]


def symmetric_dirichlet_kl(log_a: Array, log_b: Array, count: Array) -> Array:
    """`KL(Dir(a/k, .., a/k) || Dir(b/k, .., b/k))` over k components, nats, elementwise.

    ```
    log Gamma(a) - log Gamma(b) - k (log Gamma(a/k) - log Gamma(b/k)) + (a - b) (psi(a/k) - psi(a))
      = (k - 1) / 2 (b/a - 1 - log(b/a)) + r(a) - r(b) - k (r(a/k) - r(b/k))
        + (a - b) (r'(a/k) - r'(a))
    ```

    The second form, with r of `binet`, has no terms that grow and cancel: exact in float32 for a up
    to 1e30.

    Args:
      log_a: log of the first one's total.
      log_b: log of the second one's.
      count: k.
    """
    a, b = jnp.exp(log_a), jnp.exp(log_b)
    log_ratio = log_b - log_a
    growth = 0.5 * (count - 1) * (jnp.expm1(log_ratio) - log_ratio)
    rest = binet(a) - binet(b) - count * (binet(a / count) - binet(b / count))
    return growth + rest + (a - b) * (binet_slope(a / count) - binet_slope(a))


@jax.custom_jvp
def binet(x: Array) -> Array:
    """`r(x) = log Gamma(x) - ((x - 1/2) log x - x + 1/2 log 2 pi)`, x above 0: `1/(12 x) - ..`."""
    large, small = x >= _SHIFT, jnp.where(x < _SHIFT, x, 1)
    # r(x) - r(x + 1) = (x + 1/2) log(1 + 1/x) - 1
    steps = [(y + 0.5) * jnp.log1p(1 / y) - 1 for y in (small + j for j in range(_SHIFT))]
    inverse = 1 / jnp.where(large, x, x + _SHIFT)
    return inverse * _polynomial(_SERIES, jnp.square(inverse)) + jnp.where(large, 0, sum(steps))


def binet_slope(x: Array) -> Array:
    """`r'(x) = psi(x) - log x + 1/(2 x)`."""
    large, small = x >= _SHIFT, jnp.where(x < _SHIFT, x, 1)
    steps = [jnp.log1p(1 / y) - (1 + 0.5 / y) / (y + 1) for y in (small + j for j in range(_SHIFT))]
    square = jnp.square(1 / jnp.where(large, x, x + _SHIFT))
    slopes = tuple(-(2 * k + 1) * term for k, term in enumerate(_SERIES))
    return square * _polynomial(slopes, square) + jnp.where(large, 0, sum(steps))


@binet.defjvp
def _binet_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # Derived, it would overflow where x is 1e-30.
    return binet(primals[0]), binet_slope(primals[0]) * tangents[0]


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    result = jnp.zeros_like(x)
    for coefficient in reversed(coefficients):
        result = result * x + coefficient
    return result
