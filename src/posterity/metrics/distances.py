"""Distances between the draws of a method and those of a reference, in units of the reference's standard deviation.

Entries in which the reference has no spread are in units of the state, so that draws that agree have no distance there.
Draws have the dimensions ``(case, sample, time, channel[, y, x])``, those of the reference ``draw`` instead of
``sample``, since there may be more or fewer of them. Everything is lazy over dask, case by case and time by time.
"""

from collections.abc import Callable
from functools import reduce
from itertools import pairwise

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .c2st import DRAWS, c2st
from .scores import ENTRIES, over_entries, unit

#: The directions on which draws are projected.
DIRECTIONS = 64

#: The most draws of trajectories that are assigned to each other, as many as in the reference of SDA.
TRAJECTORIES = 1024

Array = NDArray[np.float64]


def mean_error(average: xr.DataArray, reference_average: xr.DataArray, reference_var: xr.DataArray) -> xr.DataArray:
    r"""The root-mean-square error of the mean, :math:`(n^{-1} \sum_i (\bar x_i - m_i)^2 / s_i^2)^{1/2}`.

    Of :math:`S` independent draws from the reference itself it is :math:`S^{-1/2}`.

    Args:
        average: The mean of the draws, with dimensions ``(case, time, channel[, y, x])``.
        reference_average: That of the reference, :math:`m`.
        reference_var: Its variance, :math:`s^2`.

    Returns:
        The error over channels and grid, with dimensions ``(case, time)``.
    """
    return over_entries(((average - reference_average) / unit(reference_average, reference_var**0.5)) ** 2) ** 0.5


def std_error(var: xr.DataArray, reference_average: xr.DataArray, reference_var: xr.DataArray) -> xr.DataArray:
    r"""The root-mean-square error of standard deviations, :math:`(n^{-1} \sum_i (\sigma_i / s_i - 1)^2)^{1/2}`.

    One is a collapsed ensemble, and the error of one that is too wide is not bounded. Of :math:`S` independent
    draws from a Gaussian reference itself it is :math:`(2 (1 - c_S))^{1/2}`, with :math:`c_S` the mean of a standard
    deviation of :math:`S` draws over the true one: about :math:`(2 S)^{-1/2}` of many.

    Args:
        var: The variance of the draws, with dimensions ``(case, time, channel[, y, x])``.
        reference_average: The mean of the reference, beside which a standard deviation may be mere rounding.
        reference_var: Its variance, :math:`s^2`.

    Returns:
        The error over channels and grid, with dimensions ``(case, time)``.
    """
    std = reference_var**0.5
    return over_entries(((var**0.5 - std) / unit(reference_average, std)) ** 2) ** 0.5


def covariance_error(state: xr.DataArray, reference: xr.DataArray) -> xr.DataArray:
    r"""The relative error of the covariance of the state, :math:`\| C - R \|_F / \| R \|_F`.

    Both are in units of the reference's standard deviations, so that :math:`R` is its matrix of correlations; the
    error is absolute if the reference has no spread at all. Of :math:`S` independent draws from a Gaussian reference
    itself the squared error is :math:`(1 + n^2 / \| R \|_F^2) / (S - 1)` on average.

    Args:
        state: The draws, with dimensions ``(case, sample, time, channel[, y, x])``.
        reference: Those of the reference, with ``draw`` instead of ``sample``.

    Returns:
        The error, with dimensions ``(case, time)``; NaN for a single draw.
    """
    return _apply(_covariance_error, state, reference)


def sliced_wasserstein(state: xr.DataArray, reference: xr.DataArray) -> xr.DataArray:
    r"""The Wasserstein-1 distance between projections, :math:`E_u \int |F_u^{-1}(p) - G_u^{-1}(p)| \, dp`.

    The mean is over 64 directions :math:`u`, uniform on the sphere and always the same ones. Of a single entry it is
    the Wasserstein-1 distance itself.

    Args:
        state: The draws, with dimensions ``(case, sample, time, channel[, y, x])``.
        reference: Those of the reference, with ``draw`` instead of ``sample``.

    Returns:
        The distance, with dimensions ``(case, time)``.

    References:
        | Sliced and Radon Wasserstein Barycenters of Measures (Bonneel et al., 2015),
          https://doi.org/10.1007/s10851-014-0506-3
    """
    return _apply(_sliced_wasserstein, state, reference)


def kernel_distances(vector: xr.DataArray, reference: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    r"""The squared energy distance and the squared maximum mean discrepancy, both unbiased:

    .. math::
        2 E \|X - Y\| - E \|X - X'\| - E \|Y - Y'\| , \qquad
        E k(X, X') + E k(Y, Y') - 2 E k(X, Y) ,

    with :math:`k(x, y) = \exp(-\|x - y\|^2 / 2 h^2)` and :math:`h` the median distance between draws of the reference.
    Means are over pairs of different draws, at most the first 1000 of a seeded permutation: of draws from the
    reference itself both are zero in expectation, and negative as often as not.

    Args:
        vector: The draws, with dimensions ``(case, sample, entry)``.
        reference: Those of the reference, with dimensions ``(case, draw, entry)``.

    Returns:
        Both, with dimension ``(case,)``; NaN for a single draw.

    References:
        | Energy statistics (Székely & Rizzo, 2013), https://doi.org/10.1016/j.jspi.2013.03.018
        | A Kernel Two-Sample Test (Gretton et al., 2012), https://jmlr.org/papers/v13/gretton12a.html
    """
    return _by_case(_kernel_distances, vector, reference)


def wasserstein(vector: xr.DataArray, reference: xr.DataArray) -> xr.DataArray:
    r"""The Wasserstein-1 distance between draws, by an optimal assignment of one to each of the other,

    .. math:: \min_\pi \frac{1}{n} \sum_i \| x_i - y_{\pi(i)} \| .

    Of both are taken as many as there are of the fewer, at most the first 1000 of a seeded permutation. The distance
    between two sets of draws of one distribution falls slowly with their number, as :math:`n^{-1/d}` in :math:`d > 2`
    dimensions: compare it with its floor.

    Args:
        vector: The draws, with dimensions ``(case, sample, entry)``.
        reference: Those of the reference, with dimensions ``(case, draw, entry)``.

    Returns:
        The distance, with dimension ``(case,)``.

    References:
        | Score-based Data Assimilation (Rozet & Louppe, 2023), https://arxiv.org/abs/2306.10574
    """
    return _by_case(lambda x, y: (_wasserstein(x, y), np.nan), vector, reference)[0]


def trajectory_wasserstein(state: xr.DataArray, reference: xr.DataArray) -> xr.DataArray:
    r"""The Wasserstein-1 distance between trajectories, by an optimal assignment of one to each of the other,

    .. math:: \min_\pi \frac{1}{n} \sum_i \Big( \sum_t \| x_{i, t} - y_{\pi(i), t} \|^2 \Big)^{1/2} ,

    in units of the state, as it is published for score-based data assimilation. Of both are taken as many as there are
    of the fewer, at most the first 1024 of a seeded permutation; their number is a part of the distance, which is
    far from zero between draws of one distribution. Compare it with its floor.

    Args:
        state: The draws, with dimensions ``(case, sample, time, channel[, y, x])``.
        reference: Those of the reference, with ``draw`` instead of ``sample``.

    Returns:
        The distance, with dimension ``(case,)``; NaN where a draw failed.

    References:
        | Score-based Data Assimilation (Rozet & Louppe, 2023), https://arxiv.org/abs/2306.10574
    """
    rng, count = np.random.default_rng(0), min(state.sizes["sample"], reference.sizes["draw"], TRAJECTORIES)
    some = (
        draws.isel({name: rng.permutation(draws.sizes[name])[:count]})
        for draws, name in ((state, "sample"), (reference, "draw"))
    )
    x, y = (draws if draws.chunks is None else draws.chunk(case=1) for draws in some)
    # Matrices of squares are summed up over time: no trajectory is in memory as a whole.
    ends = np.cumsum([0, *x.chunksizes.get("time", [x.sizes["time"]])])
    parts = [slice(*bounds) for bounds in pairwise(ends)]
    squares = reduce(xr.DataArray.__add__, [_squares(x.isel(time=part), y.isel(time=part)) for part in parts])
    found: xr.DataArray = xr.apply_ufunc(
        _least_length,
        squares**0.5,
        input_core_dims=[["sample", "draw"]],
        vectorize=True,
        dask="parallelized",
        output_dtypes=[np.float64],
    )
    return found


def classifier_test(vector: xr.DataArray, reference: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """The accuracy of the classifier two-sample test :func:`posterity.metrics.c2st.c2st`, and its standard error.

    Args:
        vector: The draws, with dimensions ``(case, sample, entry)``.
        reference: Those of the reference, with dimensions ``(case, draw, entry)``.

    Returns:
        Both, with dimension ``(case,)``.
    """
    return _by_case(c2st, vector, reference)


def _apply(function: Callable[[Array, Array], float], state: xr.DataArray, reference: xr.DataArray) -> xr.DataArray:
    """A distance of flattened, standardised draws, for each case and time."""
    entries = [name for name in ENTRIES if name in state.dims]

    def distance(draws: np.ndarray, own: np.ndarray) -> float:
        """The distance of draws with shape ``(sample, *entries)``."""
        x, y = (part.reshape(len(part), -1).astype(np.float64) for part in (draws, own))
        mean, scale = _standard(y)
        return function((x - mean) / scale, (y - mean) / scale)

    found: xr.DataArray = xr.apply_ufunc(
        distance,
        state,
        reference,
        input_core_dims=[["sample", *entries], ["draw", *entries]],
        vectorize=True,
        dask="parallelized",
        output_dtypes=[np.float64],
    )
    return found


def _by_case(
    function: Callable[[np.ndarray, np.ndarray], tuple[float, float]], vector: xr.DataArray, reference: xr.DataArray
) -> tuple[xr.DataArray, xr.DataArray]:
    """Two numbers that compare the draws of a case."""
    found: tuple[xr.DataArray, xr.DataArray] = xr.apply_ufunc(
        function,
        vector,
        reference,
        input_core_dims=[["sample", "entry"], ["draw", "entry"]],
        output_core_dims=[[], []],
        vectorize=True,
        dask="parallelized",
        output_dtypes=[np.float64, np.float64],
    )
    return found


def _standard(reference: np.ndarray) -> tuple[Array, Array]:
    """The mean and the unit of each entry of a reference."""
    mean = reference.mean(axis=0, dtype=np.float64)
    return mean, unit(mean, reference.std(axis=0, ddof=1, dtype=np.float64))


def _covariance_error(draws: Array, reference: Array) -> float:
    """The error from the smaller of two matrices: of covariances, or of inner products of all draws."""
    if len(draws) == 1:
        return np.nan
    x, y = ((part - part.mean(axis=0)) / (len(part) - 1) ** 0.5 for part in (draws, reference))
    if x.shape[1] <= len(x) + len(y):
        own = y.T @ y
        return float(np.linalg.norm(x.T @ x - own) / (np.linalg.norm(own) or 1.0))
    # Norms of XᵀX − YᵀY, without a matrix of the size of the state.
    own = np.linalg.norm(y @ y.T)
    square = np.linalg.norm(x @ x.T) ** 2 + own**2 - 2 * np.linalg.norm(x @ y.T) ** 2
    return float(square.clip(min=0) ** 0.5 / (own or 1.0))


def _sliced_wasserstein(draws: Array, reference: Array) -> float:
    """The mean distance between the quantile functions of projections, which are constant between all their jumps."""
    directions = np.random.default_rng(0).standard_normal((draws.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    first, second = (np.sort((part @ directions).T) for part in (draws, reference))
    sizes = len(draws), len(reference)
    jumps = np.union1d(*(np.arange(1, size + 1) / size for size in sizes))
    width = np.diff(jumps, prepend=0)
    places = [np.minimum(((jumps - width / 2) * size).astype(int), size - 1) for size in sizes]
    return float((np.abs(first[:, places[0]] - second[:, places[1]]) @ width).mean())


def _wasserstein(draws: np.ndarray, reference: np.ndarray) -> float:
    """The distance of one case."""
    if not (np.isfinite(draws).all() and np.isfinite(reference).all()):
        return np.nan
    mean, scale = _standard(reference)
    rng, count = np.random.default_rng(0), min(len(draws), len(reference), DRAWS)
    x, y = ((rng.permutation(part)[:count] - mean) / scale for part in (draws, reference))
    return _least_length(lengths(x, y))


def _squares(state: xr.DataArray, reference: xr.DataArray) -> xr.DataArray:
    """The squared distances of all draws to all of the reference, with dimensions ``(case, sample, draw)``."""
    inside = ["time", *(name for name in ENTRIES if name in state.dims)]

    def squares(draws: np.ndarray, own: np.ndarray) -> Array:
        """The squares of draws with shape ``(sample, time, *entries)``, a time at once."""
        found = np.zeros((len(draws), len(own)))
        for t in range(draws.shape[1]):
            found += lengths(*(part[:, t].reshape(len(part), -1).astype(np.float64) for part in (draws, own))) ** 2
        return found

    whole = [part if part.chunks is None else part.chunk(dict.fromkeys(inside, -1)) for part in (state, reference)]
    found: xr.DataArray = xr.apply_ufunc(
        squares,
        *whole,
        input_core_dims=[["sample", *inside], ["draw", *inside]],
        output_core_dims=[["sample", "draw"]],
        vectorize=True,
        dask="parallelized",
        output_dtypes=[np.float64],
    )
    return found


def _least_length(distance: Array) -> float:
    """The least mean over all assignments of one draw to each of the other; NaN where a distance is not finite."""
    from scipy.optimize import linear_sum_assignment

    if not np.isfinite(distance).all():
        return np.nan
    return float(distance[linear_sum_assignment(distance)].mean())


def _kernel_distances(draws: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Both distances of one case."""
    if min(len(draws), len(reference)) == 1 or not (np.isfinite(draws).all() and np.isfinite(reference).all()):
        return np.nan, np.nan
    mean, scale = _standard(reference)
    rng = np.random.default_rng(0)
    x, y = ((rng.permutation(part)[:DRAWS] - mean) / scale for part in (draws, reference))
    across = lengths(x, y)
    within, own = (lengths(part, part)[np.triu_indices(len(part), 1)] for part in (x, y))
    # Of a reference whose draws are mostly copies, the median of those that differ.
    width = np.median(own[own > 0]) if own.any() else 1.0
    energy = 2 * across.mean() - within.mean() - own.mean()
    across, within, own = (np.exp(-0.5 * (distance / width) ** 2) for distance in (across, within, own))
    return float(energy), float(within.mean() + own.mean() - 2 * across.mean())


def lengths(x: Array, y: Array) -> Array:
    """The distances of all rows of one matrix to all rows of another, by one product of matrices."""
    # About the centre of one, rounding is relative to the spread of equal sets, and to the distance of others.
    x, y = x - x.mean(axis=0), y - x.mean(axis=0)
    squares: Array = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
    return squares.clip(min=0) ** 0.5
