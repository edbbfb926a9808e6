"""Measures of what the latent holds, from arrays with one row an example.

NumPy in double precision, on the host: these measures are differences of large numbers, and are
taken once per evaluation over a whole corpus.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jvae.remedies.aggregate import inverse_multiquadric


class MutualInformation(NamedTuple):
    """An estimate of the mutual information of example and latent, nats.

    Attributes:
      value: it may be slightly negative near collapse, where its noise exceeds it.
      standard_error: of `value`; NaN where there is only one batch.
      ceiling: what a perfect code would reach, up to that noise: no estimate tells more examples
        apart than it was shown.
    """

    value: float
    standard_error: float
    ceiling: float


class Discrepancy(NamedTuple):
    """Distance of two distributions, without a unit.

    Attributes:
      value: unbiased, hence about 0, or just below, where there is no difference.
      standard_error: of `value`, over examples.
    """

    value: float
    standard_error: float


class KCurve(NamedTuple):
    """The importance-weighted NLL against the number of samples.

    Attributes:
      k: the numbers of samples.
      nll: nats per example at each.
      standard_error: of `nll`, over examples.
    """

    k: tuple[int, ...]
    nll: np.ndarray
    standard_error: np.ndarray


def mutual_information(
    z: ArrayLike, mean: ArrayLike, log_var: ArrayLike, *, chunk: int = 512
) -> np.ndarray:
    """Computes the terms of the mutual information of example and latent, `[N]`, nats.

    Their mean is `I_q(x; z) = E_x[E_q log q(z|x)] - E_x[E_q log q(z)]`.

    The first expectation over z is the closed form `-1/2 sum_l (log 2 pi + 1 + log var_l)`, the
    second uses the one sample `z_n`; `q(z) = 1/N sum_m q(z|x_m)` runs over the examples given,
    `x_n` itself among them.

    Args:
      z: `[N, L]`, one draw from each posterior.
      mean: `[N, L]`.
      log_var: `[N, L]`, of the diagonal Gaussian posteriors.
      chunk: rows of the `N x N` densities that are held at once: `chunk * N * 8` bytes.

    Raises:
      ValueError: `log_var` is not finite, as for a point mass, which has no entropy.

    Source: Hoffman & Johnson 2016; the estimator of He et al. 2019, section 4.2.
    """
    points, means, log_vars = _double(z), _double(mean), _double(log_var)
    if not np.all(np.isfinite(log_vars)):
        raise ValueError("the mutual information needs posteriors with a density: finite log_var")
    log_2pi = math.log(2 * math.pi)
    negative_entropy = -0.5 * np.sum(log_2pi + 1 + log_vars, axis=1)

    # (z - mean)^2 / var multiplied out, so that all pairs are two matrix products. Centring first
    # keeps the terms small, hence the differences exact.
    centre = means.mean(axis=0)
    points, means, precision = points - centre, means - centre, np.exp(-log_vars)
    offset = np.sum(means**2 * precision + log_vars + log_2pi, axis=1)
    log_aggregate = np.empty(len(points))
    for start in range(0, len(points), chunk):
        rows = points[start : start + chunk]
        log_q = rows @ (means * precision).T - 0.5 * (rows**2 @ precision.T + offset)
        log_aggregate[start : start + chunk] = _log_mean_exp(log_q, axis=1)
    return negative_entropy - log_aggregate


def mi_corpus(
    z: ArrayLike, mean: ArrayLike, log_var: ArrayLike, *, chunk: int = 512
) -> MutualInformation:
    """Estimates mutual information against the aggregate posterior of N examples; ceiling `log N`.

    Its standard error is over examples, as if their terms were independent. Not comparable with
    `mi_batch`.

    Args:
      z: `[N, L]`, one draw from each posterior.
      mean: `[N, L]`.
      log_var: `[N, L]`.
      chunk: see `mutual_information`.

    Raises:
      ValueError: see `mutual_information`.

    Source: Li et al. 2019, whose code evaluates on the whole test set at once.
    """
    terms = mutual_information(z, mean, log_var, chunk=chunk)
    return MutualInformation(float(terms.mean()), standard_error(terms), math.log(len(terms)))


def mi_batch(
    z: ArrayLike, mean: ArrayLike, log_var: ArrayLike, *, batch_size: int = 32
) -> MutualInformation:
    """Averages mutual information inside minibatches; ceiling `log batch_size`.

    `sum_b n_b I_b / N`, where `I_b` takes the aggregate posterior over the `n_b` examples of
    batch b. Batches are consecutive rows; a last, smaller batch counts by its size and lowers the
    ceiling, `sum_b n_b log(n_b) / N`. Its standard error is over batches. Not comparable with
    `mi_corpus`.

    Args:
      z: `[N, L]`, one draw from each posterior.
      mean: `[N, L]`.
      log_var: `[N, L]`.
      batch_size: examples of a batch; 32 in the paper.

    Raises:
      ValueError: see `mutual_information`.

    Source: He et al. 2019, section 4.2 and its code. There a batch holds sentences of one length.
    """
    arrays = _double(z), _double(mean), _double(log_var)
    starts = range(0, len(arrays[0]), batch_size)
    batches = [slice(start, start + batch_size) for start in starts]
    terms = [mutual_information(*(array[rows] for array in arrays)) for rows in batches]
    sizes = np.array([len(batch) for batch in terms])
    weights = sizes / sizes.sum()
    values = np.array([batch.mean() for batch in terms])
    value = float(weights @ values)
    count = len(values)
    # With batches of equal size this is std(values) / sqrt(count).
    spread = float(weights**2 @ (values - value) ** 2)
    error = math.sqrt(spread * count / (count - 1)) if count > 1 else math.nan
    return MutualInformation(value, error, float(weights @ np.log(sizes)))


def mmd_squared(z: ArrayLike, draws: ArrayLike, *, chunk: int = 512) -> Discrepancy:
    """Estimates `E k(z, z') + E k(y, y') - 2 E k(z, y)` of aggregate posterior and prior, of y.

    The mean over pairs i != j of `h_ij = k(z_i, z_j) + k(y_i, y_j) - k(z_i, y_j) - k(z_j, y_i)`,
    `k = C / (C + |z - z'|^2)`, `C = 2 L`: the mean square distance of a standard normal prior's
    draws, whatever L. Its standard error is `2 std_i(mean_j h_ij) / sqrt(N)`; without a difference
    the true one is smaller by the square root of 2.

    Args:
      z: `[N, L]`, one draw from each posterior, N at least 2.
      draws: `[N, L]`, y, of the prior.
      chunk: rows of the `N x N` similarities that are held at once, a few times `chunk * N * 8`
        bytes.

    Source: Gretton et al. 2012, equation 4; its variance is that of any such mean over pairs
    (Hoeffding 1948). The kernel is Tolstikhin et al.'s (2018).
    """
    x, y = _double(z), _double(draws)
    number, size = x.shape

    def similarity(squared: Any) -> np.ndarray:  # plain arithmetic, of NumPy's arrays as of JAX's
        return np.asarray(inverse_multiquadric(squared, size))

    def of_rows(some: np.ndarray, others: np.ndarray) -> np.ndarray:
        squared = np.sum(some**2, axis=1)[:, None] + np.sum(others**2, axis=1)
        return similarity(squared - 2 * some @ others.T).sum(axis=1)

    of_row = 2 * similarity(np.sum((x - y) ** 2, axis=1)) - 2  # less the pairs i = j, counted below
    for start in range(0, number, chunk):
        rows = slice(start, start + chunk)
        of_row[rows] += of_rows(x[rows], x) + of_rows(y[rows], y)
        of_row[rows] -= of_rows(x[rows], y) + of_rows(y[rows], x)
    of_row /= number - 1
    return Discrepancy(float(of_row.mean()), 2 * standard_error(of_row))


def active_units(mean: ArrayLike, threshold: float = 0.01) -> tuple[int, np.ndarray]:
    """Counts dimensions whose posterior means vary, `Var_x(E_q[z_l | x]) > threshold`.

    Args:
      mean: `[N, L]`, posterior means.
      threshold: in squared units of z.

    Returns:
      Their number, and the variances `[L]` (unbiased; 0 for a single example).

    Source: Burda et al. 2016, section 5.2.
    """
    means = _double(mean)
    variances = np.var(means, axis=0, ddof=min(1, len(means) - 1))
    return int(np.sum(variances > threshold)), variances


def perplexity(nll_sum: float, symbols: float) -> float:
    """Computes `exp(nll_sum / symbols)`, of the nats of a corpus and its predicted symbols.

    Infinity where a float cannot hold it, as with bounds that are far from any likelihood.
    """
    return math.exp(nll_sum / symbols) if nll_sum / symbols < 700 else math.inf


def iw_nll(log_weights: ArrayLike) -> np.ndarray:
    """Computes `-log 1/K sum_k exp(log_weights_k)`, `[N]`, nats: at least the NLL in expectation.

    Args:
      log_weights: `[K, N]`, `log p(x, z_k) - log q(z_k | x)`, nats.

    Source: Burda et al. 2016, equation 8.
    """
    return -_log_mean_exp(_double(log_weights), axis=0)


def k_curve(log_weights: ArrayLike, ks: Iterable[int]) -> KCurve:
    """Computes `iw_nll` at fewer samples: how far the bound still falls with K.

    The estimate at k averages the `floor(K / k)` disjoint groups of k samples.

    Args:
      log_weights: `[K, N]`, as in `iw_nll`.
      ks: numbers of samples, each from 1 to K.

    Raises:
      ValueError: a number outside 1 .. K.
    """
    weights = _double(log_weights)
    total, examples = weights.shape
    ks = tuple(ks)
    if not all(1 <= k <= total for k in ks):
        raise ValueError(f"k must be from 1 to the {total} samples drawn, not {ks}")
    curve = []
    for k in ks:
        groups = weights[: total // k * k].reshape(-1, k, examples)
        nll = -_log_mean_exp(groups, axis=1).mean(axis=0)
        curve.append((nll.mean(), standard_error(nll)))
    nlls, errors = np.array(curve).reshape(-1, 2).T
    return KCurve(ks, nlls, errors)


def standard_error(values: ArrayLike) -> float:
    """Computes `std(values) / sqrt(N)`, of the mean of independent values `[N]`; NaN for one."""
    array = _double(values)
    if len(array) < 2:
        return math.nan
    return float(np.std(array, ddof=1) / math.sqrt(len(array)))


def _double(array: ArrayLike) -> np.ndarray:
    return np.asarray(array, np.float64)


def _log_mean_exp(values: np.ndarray, axis: int) -> np.ndarray:
    """Computes `log mean exp` along an axis, without overflow."""
    top = values.max(axis=axis, keepdims=True)
    return np.log(np.exp(values - top).mean(axis=axis)) + top.squeeze(axis)
