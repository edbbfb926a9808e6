import math

import numpy as np
import pytest

from jvae.evaluation.diagnostics import (
    active_units,
    iw_nll,
    k_curve,
    mi_batch,
    mi_corpus,
    mmd_squared,
    mutual_information,
    perplexity,
    standard_error,
)


def _draw(rng, mean, log_var):
    return mean + np.exp(0.5 * log_var) * rng.normal(size=mean.shape)


def _posteriors(seed, sentences=60, size=3):
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(sentences, size))
    log_var = rng.normal(size=(sentences, size)) - 1
    return _draw(rng, mean, log_var), mean, log_var


def _naive_terms(z, mean, log_var):
    """The definition, one pair of sentences at a time."""
    terms = []
    for n in range(len(z)):
        entropy = 0.5 * sum(1 + math.log(2 * math.pi) + v for v in log_var[n])
        densities = [
            math.prod(
                math.exp(-0.5 * (a - m) ** 2 / math.exp(v)) / math.sqrt(2 * math.pi * math.exp(v))
                for a, m, v in zip(z[n], mean[k], log_var[k], strict=True)
            )
            for k in range(len(z))
        ]
        terms.append(-entropy - math.log(sum(densities) / len(densities)))
    return np.array(terms)


@pytest.mark.parametrize("chunk", [1, 7, 60, 1000])
def test_terms_are_their_definition_however_they_are_chunked(chunk):
    arrays = _posteriors(0)
    np.testing.assert_allclose(
        mutual_information(*arrays, chunk=chunk), _naive_terms(*arrays), rtol=1e-9
    )


def test_terms_are_exact_far_from_the_origin_and_for_narrow_posteriors():
    z, mean, log_var = _posteriors(1)
    expected = _naive_terms(z, mean, log_var)
    moved = mutual_information(z + 1e4, mean + 1e4, log_var)
    np.testing.assert_allclose(moved, expected, atol=1e-7)
    scaled = mutual_information(z * 1e-5, mean * 1e-5, log_var + 2 * math.log(1e-5))
    np.testing.assert_allclose(scaled, expected, atol=1e-9)


def test_equal_posteriors_carry_nothing():
    rng = np.random.default_rng(2)
    mean, log_var = np.full((5000, 4), 0.3), np.full((5000, 4), -0.2)
    estimate = mi_corpus(_draw(rng, mean, log_var), mean, log_var)
    assert abs(estimate.value) < 4 * estimate.standard_error
    # Each term is 1/2 (chi-squared with 4 degrees - 4): its deviation is sqrt(2).
    np.testing.assert_allclose(estimate.standard_error, math.sqrt(2 / 5000), rtol=0.1)


def test_separated_clusters_carry_the_logarithm_of_their_number():
    rng = np.random.default_rng(3)
    mean = np.repeat(100.0 * np.eye(8), 500, axis=0)
    log_var = np.zeros_like(mean)
    estimate = mi_corpus(_draw(rng, mean, log_var), mean, log_var)
    assert abs(estimate.value - math.log(8)) < 4 * estimate.standard_error
    assert estimate.standard_error < 0.05
    assert estimate.ceiling == math.log(4000)


def test_a_gaussian_channel_has_its_known_capacity():
    rng = np.random.default_rng(4)
    gain, log_var = np.array([2.0, 0.5, 0.0]), np.array([-1.0, 0.3, 0.0])
    mean = gain * rng.normal(size=(6000, 3))
    log_vars = np.broadcast_to(log_var, mean.shape)
    estimate = mi_corpus(_draw(rng, mean, log_vars), mean, log_vars)
    known = 0.5 * np.sum(np.log1p(gain**2 / np.exp(log_var)))
    assert abs(estimate.value - known) < 4 * estimate.standard_error
    assert estimate.standard_error < 0.03


def test_the_order_of_sentences_matters_to_no_corpus_estimate():
    z, mean, log_var = _posteriors(5)
    order = np.random.default_rng(5).permutation(len(z))
    moved = mutual_information(z[order], mean[order], log_var[order])
    np.testing.assert_allclose(moved, mutual_information(z, mean, log_var)[order], rtol=1e-9)


def test_a_perfect_code_reaches_the_ceiling_of_its_estimator():
    rng = np.random.default_rng(6)
    mean = np.zeros((640, 2))
    mean[:, 0] = 1000.0 * np.arange(640)
    log_var = np.zeros_like(mean)
    arrays = _draw(rng, mean, log_var), mean, log_var
    batch, corpus = mi_batch(*arrays, batch_size=32), mi_corpus(*arrays)
    np.testing.assert_allclose([batch.ceiling, corpus.ceiling], np.log([32, 640]))
    for estimate in (batch, corpus):
        assert abs(estimate.value - estimate.ceiling) < 4 * estimate.standard_error


def test_batches_count_by_their_size():
    z, mean, log_var = _posteriors(7, sentences=70)
    estimate = mi_batch(z, mean, log_var, batch_size=32)
    parts = [slice(0, 32), slice(32, 64), slice(64, 70)]
    terms = np.concatenate([_naive_terms(z[p], mean[p], log_var[p]) for p in parts])
    np.testing.assert_allclose(estimate.value, terms.mean(), rtol=1e-9)
    ceiling = (64 * math.log(32) + 6 * math.log(6)) / 70
    np.testing.assert_allclose(estimate.ceiling, ceiling, rtol=1e-12)


def test_the_error_of_the_batch_estimate_is_that_of_equal_batches():
    z, mean, log_var = _posteriors(8, sentences=80)
    estimate = mi_batch(z, mean, log_var, batch_size=20)
    parts = [slice(start, start + 20) for start in range(0, 80, 20)]
    values = [_naive_terms(z[p], mean[p], log_var[p]).mean() for p in parts]
    np.testing.assert_allclose(estimate.standard_error, np.std(values, ddof=1) / 2, rtol=1e-9)
    assert math.isnan(mi_batch(z, mean, log_var, batch_size=80).standard_error)


def test_a_point_mass_is_refused():
    z, mean, log_var = _posteriors(9)
    with pytest.raises(ValueError, match="density"):
        mutual_information(z, mean, np.full_like(log_var, -np.inf))


def _similarity(x, y):
    return 2 * len(x) / (2 * len(x) + np.sum((x - y) ** 2))


@pytest.mark.parametrize("chunk", [3, 512])
def test_mmd_is_the_mean_over_pairs_however_they_are_chunked(chunk):
    rng = np.random.default_rng(0)
    z, y = 0.5 * rng.normal(size=(7, 3)) + 1, rng.normal(size=(7, 3))
    pairs = np.zeros((7, 7))
    for i in range(7):
        for j in range(7):
            within = _similarity(z[i], z[j]) + _similarity(y[i], y[j])
            pairs[i, j] = within - _similarity(z[i], y[j]) - _similarity(z[j], y[i])
    different = pairs[~np.eye(7, dtype=bool)].reshape(7, 6)
    value, error = mmd_squared(z, y, chunk=chunk)
    assert value == pytest.approx(different.mean(), rel=1e-10)
    assert error == pytest.approx(2 * np.std(different.mean(axis=1), ddof=1) / np.sqrt(7))


def test_mmd_is_zero_on_average_for_one_distribution_and_its_error_is_honest():
    """Draws of the closed form's own distributions, many times; of equal ones, it errs above."""
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(2, 400, 40, 4))
    for shift, ratio in ((0.0, 2**0.5), (1.5, 1.0)):
        found = [mmd_squared(a + shift, b) for a, b in zip(z, y, strict=True)]
        values, errors = np.array(found).T
        spread = np.std(values, ddof=1)
        assert np.sqrt(np.mean(errors**2)) / spread == pytest.approx(ratio, rel=0.15)
        if shift:
            assert np.all(values > 3 * errors)
        else:
            assert abs(values.mean()) < 3.5 * spread / 20
    # One part of the posterior missing, as wide a prior: what shows is a difference of kinds.
    assert mmd_squared(0.1 * z[0], y[0]).value > 5 * mmd_squared(0.1 * z[0], y[0]).standard_error


def test_active_units_count_the_variances_of_the_means():
    rng = np.random.default_rng(10)
    mean = rng.normal(size=(50, 4)) * np.array([1.0, 0.2, 0.05, 0.0]) + 7
    count, variances = active_units(mean)
    np.testing.assert_allclose(variances, np.var(mean, axis=0, ddof=1), rtol=1e-9)
    assert count == 2
    assert active_units(mean, threshold=0.5)[0] == 1
    # Unbiased: 0.0105 with N - 1, 0.0095 with N.
    assert active_units(math.sqrt(0.0095) * np.array([[1.0]] * 5 + [[-1.0]] * 5))[0] == 1


def test_perplexity_is_per_token():
    np.testing.assert_allclose(perplexity(30 * math.log(50.0), 30), 50.0)
    assert perplexity(8000.0, 10) == math.inf  # exp would raise


def test_importance_weights_are_averaged_before_the_logarithm():
    log_weights = np.random.default_rng(11).normal(size=(40, 7)) * 3 - 100
    expected = -np.log(np.mean(np.exp(log_weights), axis=0))
    np.testing.assert_allclose(iw_nll(log_weights), expected, rtol=1e-12)
    np.testing.assert_allclose(iw_nll(log_weights - 1e4), expected + 1e4, rtol=1e-12)


def test_the_curve_averages_disjoint_groups():
    log_weights = np.random.default_rng(12).normal(size=(10, 30)) - 50
    curve = k_curve(log_weights, [1, 3, 10])
    weights = np.exp(log_weights)
    by_three = [-np.log(weights[s : s + 3].mean(axis=0)) for s in (0, 3, 6)]
    expected = [-log_weights.mean(axis=0), np.mean(by_three, axis=0), iw_nll(log_weights)]
    assert curve.k == (1, 3, 10)
    np.testing.assert_allclose(curve.nll, [e.mean() for e in expected], rtol=1e-12)
    errors = [np.std(e, ddof=1) / math.sqrt(30) for e in expected]
    np.testing.assert_allclose(curve.standard_error, errors, rtol=1e-9)


def test_the_curve_falls_where_groups_nest():
    log_weights = np.random.default_rng(13).normal(size=(64, 20)) * 2
    assert np.all(np.diff(k_curve(log_weights, [1, 2, 4, 8, 16, 32, 64]).nll) < 0)


@pytest.mark.parametrize("k", [0, 11])
def test_the_curve_refuses_samples_that_were_not_drawn(k):
    with pytest.raises(ValueError, match="10 samples"):
        k_curve(np.zeros((10, 3)), [1, k])


def test_standard_error():
    values = [1.0, 2.0, 4.0, 9.0]
    np.testing.assert_allclose(standard_error(values), np.std(values, ddof=1) / 2)
    assert math.isnan(standard_error([1.0]))
