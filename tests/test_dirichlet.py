"""Gamma and Dirichlet variables against SciPy in float64, from the smallest parameters on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jvae.distributions.dirichlet import (
    LARGE,
    binet,
    dirichlet_log_prob,
    draw_log_gamma,
    symmetric_dirichlet_kl,
    wilson_hilferty,
)

DRAWS = 4000
ALPHAS = np.array([1e-30, 1e-3, 0.1, 0.7, 1, 30, 1e4, 0.99 * LARGE, 1.01 * LARGE, 1e9, 1e30])


@pytest.fixture(scope="module")
def draws():
    """`log g` and `d log g / d log alpha`, each `[DRAWS, alphas]`."""
    log_alpha = jnp.log(jnp.asarray(ALPHAS, jnp.float32))

    @jax.jit
    def run(keys):
        def one(key):
            def draw(log_alpha):
                return draw_log_gamma(key, log_alpha)

            return jax.jvp(draw, (log_alpha,), (jnp.ones_like(log_alpha),))

        return jax.vmap(one)(keys)

    return [
        np.asarray(part, np.float64) for part in run(jax.random.split(jax.random.key(0), DRAWS))
    ]


def test_draws_have_the_distribution_of_scipy(draws):
    # 1.95 / sqrt(n) has p about 0.001 under Kolmogorov-Smirnov; fixed seeds.
    bound = 1.95 / np.sqrt(DRAWS)
    for log_g, alpha in zip(draws[0].T, ALPHAS, strict=True):
        if alpha < 0.1:  # alpha log g is minus an exponential variable but for terms of order alpha
            distance = stats.kstest(-alpha * log_g, "expon").statistic
        elif alpha < 1e6:
            distance = stats.kstest(np.exp(log_g), stats.gamma(alpha).cdf).statistic
        else:  # no spread that float32 could tell
            np.testing.assert_allclose(log_g, np.log(alpha), rtol=1e-6, atol=6 / np.sqrt(alpha))
            continue
        assert distance < bound, alpha


def test_gradients_of_draws_average_to_those_of_the_mean(draws):
    """`E log g = psi(alpha)`, hence `E d log g / d log alpha = alpha psi'(alpha)`."""
    slopes = draws[1]
    error = slopes.std(axis=0) / np.sqrt(DRAWS)
    difference = np.abs(slopes.mean(axis=0) / (ALPHAS * special.polygamma(1, ALPHAS)) - 1)
    scale = ALPHAS * special.polygamma(1, ALPHAS)
    assert np.all(difference < 4 * error / scale + 1e-6), difference


def test_the_cube_root_is_normal_to_the_last_digit_of_float32():
    noise = np.linspace(-5, 5, 41)
    exact = np.where(
        noise < 0,
        special.gammaincinv(LARGE, stats.norm.cdf(noise)),
        special.gammainccinv(LARGE, stats.norm.sf(noise)),
    )
    with jax.enable_x64(True):
        ours = np.asarray(wilson_hilferty(jnp.log(jnp.asarray(LARGE)), jnp.asarray(noise)))
    assert np.abs(ours - np.log(exact)).max() < 0.1 * np.spacing(np.float32(np.log(LARGE)))


def remainder(x):
    return special.gammaln(x) - ((x - 0.5) * np.log(x) - x + 0.5 * np.log(2 * np.pi))


def test_binet_and_its_slope_are_those_of_scipy_and_the_gradient_is_the_slope():
    x = np.concatenate([np.logspace(-30, 3, 67), [7.999, 8.0, 8.001]])
    x32 = jnp.asarray(x, jnp.float32)
    value, slope = jax.jit(lambda x: jax.jvp(binet, (x,), (jnp.ones_like(x),)))(x32)
    np.testing.assert_allclose(value, remainder(x), rtol=1e-5, atol=1e-6)
    exact = special.psi(x) - np.log(x) + 0.5 / x
    np.testing.assert_allclose(slope, exact, rtol=1e-5, atol=1e-6)
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            jax.jit(binet)(jnp.asarray(x)), remainder(x), rtol=1e-12, atol=1e-12
        )


def test_the_divergence_is_scipys_and_keeps_its_digits_for_large_totals():
    a, b, k = (grid.ravel() for grid in np.meshgrid(np.logspace(0, 4, 9), [1, 13.5, 400], [2, 51]))
    exact = special.gammaln(a) - special.gammaln(b)
    exact += k * (special.gammaln(b / k) - special.gammaln(a / k))
    exact += (a - b) * (special.psi(a / k) - special.psi(a))

    def ours(a, b, k):
        return symmetric_dirichlet_kl(jnp.log(a), jnp.log(b), k)

    ours = jax.jit(ours)
    np.testing.assert_allclose(ours(a, b, k), exact, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(ours(b, b, k), 0, atol=1e-5)  # up to k roundings
    # What is left where a is beyond any series.
    large = np.array([1e12, 1e20, 1e30, *np.full(51, 1e30)])
    a, b, k = large, np.full(54, 13.5), np.full(54, 51)
    exact = (k - 1) / 2 * (b / a - 1 - np.log(b / a)) - remainder(b) + k * remainder(b / k)
    np.testing.assert_allclose(ours(a, b, k), exact, rtol=1e-6)


def test_the_density_is_that_of_scipy_and_of_present_rows_only():
    rng = np.random.default_rng(0)
    value_and_grad = jax.jit(jax.value_and_grad(lambda logs: dirichlet_log_prob(*logs)))
    for alpha in ([1.0, 0.05, 3, 0.4], [1e5, 20, 3e4, 1e3], [0.01, 0.02]):
        pi = rng.dirichlet(alpha)
        expected = stats.dirichlet(alpha).logpdf(pi)
        rows = [np.log(pi), np.log(alpha)]
        padding = np.full(5 - len(alpha), -np.inf)
        padded = [np.append(row, padding).astype(np.float32) for row in rows]
        value, grads = value_and_grad(padded)
        np.testing.assert_allclose(value, expected, rtol=1e-4)
        assert all(np.all(np.isfinite(g)) and g[-1] == 0 for g in grads)
        # Its expectation has slope log pi - psi(alpha) + psi(a), times alpha for the logs.
        exact = alpha * (np.log(pi) - special.psi(alpha) + special.psi(np.sum(alpha)))
        np.testing.assert_allclose(grads[1][: len(alpha)], exact, rtol=1e-3, atol=1e-2)
    certain = np.array([0] + 4 * [-np.inf], np.float32)
    np.testing.assert_allclose(value_and_grad([certain, certain - 1.1])[0], 0, atol=1e-6)
