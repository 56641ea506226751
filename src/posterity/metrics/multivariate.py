"""Scores of states as a whole, which see how their entries depend on each other."""

from collections.abc import Callable
from functools import cache

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .distances import lengths
from .scores import ENTRIES, whole

#: The most pairs of entries that the variogram score compares: all of 64 entries.
PAIRS = 2016

#: Numbers in the largest array of a chunk: one mebibyte, which the cache of a processor holds.
CHUNK = 2**17

Array = NDArray[np.float64]


def energy_score(state: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    r"""The fair energy score, the multivariate continuous ranked probability score:

    .. math::
        \frac{1}{S} \sum_s \|x_s - x\| - \frac{1}{2 S (S - 1)} \sum_{s, r} \|x_s - x_r\| .

    Norms are Euclidean, over channels and grid. It is proper: nothing scores better than the posterior itself. It
    sees errors of the mean more than those of correlations, which is what :func:`variogram_score` is for.

    Args:
        state: The draws, with dimensions ``(case, sample, time, channel[, y, x])``.
        truth: The true states, with dimensions ``(case, time, channel[, y, x])``.

    Returns:
        The score, with dimensions ``(case, time)``, in units of the state; NaN for a single draw.

    References:
        | Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting & Raftery, 2007),
          https://doi.org/10.1198/016214506000001437
    """
    return _apply(_energy_score, state, truth)


def variogram_score(state: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    r"""The fair variogram score of order one half, the mean over pairs of entries of

    .. math::
        \left( |x^i - x^j|^{1/2} - \bar d \right)^2 - \frac{1}{S (S - 1)} \sum_s (d_s - \bar d)^2 ,
        \qquad d_s = |x_s^i - x_s^j|^{1/2} .

    The second term is the variance of the mean :math:`\bar d` of :math:`S` draws: without it, few draws would score
    worse than many from the same posterior. With it the expectation is that of infinitely many, and the score of a good
    one may be negative. It sees wrong correlations, and no error that all entries share. Of more than 64 entries, 2016
    pairs stand for all, drawn once and the same for every method.

    Args:
        state: The draws, with dimensions ``(case, sample, time, channel[, y, x])``.
        truth: The true states, with dimensions ``(case, time, channel[, y, x])``.

    Returns:
        The score, with dimensions ``(case, time)``, in units of the state; NaN for a state of one entry,
        or a single draw.

    References:
        | Variogram-Based Proper Scoring Rules for Probabilistic Forecasts of Multivariate Quantities
          (Scheuerer & Hamill, 2015), https://doi.org/10.1175/MWR-D-14-00269.1
    """
    return _apply(_variogram_score, state, truth)


def _apply(function: Callable[[Array, Array], float], state: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """A score of flattened draws, for each case and time."""
    entries = [name for name in ENTRIES if name in state.dims]

    def score(draws: np.ndarray, true: np.ndarray) -> float:
        """The score of draws with shape ``(sample, *entries)``."""
        return function(draws.reshape(len(draws), -1).astype(np.float64), true.ravel().astype(np.float64))

    found: xr.DataArray = xr.apply_ufunc(
        score,
        whole(state),
        whole(truth),
        input_core_dims=[["sample", *entries], entries],
        vectorize=True,
        dask="parallelized",
        output_dtypes=[np.float64],
    )
    return found


def _energy_score(draws: Array, truth: Array) -> float:
    """The energy score of one case and time."""
    count = len(draws)
    if count == 1:
        return np.nan
    centre = draws.mean(axis=0)
    x = draws - centre
    rows = max(1, CHUNK // count)
    spread = sum(float(lengths(x[start : start + rows], x).sum()) for start in range(0, count, rows))
    return float(np.linalg.norm(x - (truth - centre), axis=1).mean()) - spread / (2 * count * (count - 1))


def _variogram_score(draws: Array, truth: Array) -> float:
    """The variogram score of one case and time."""
    first, second = _pairs(len(truth))
    if len(first) == 0 or len(draws) == 1:
        return np.nan
    x = np.ascontiguousarray(draws.T)
    true = np.abs(truth[first] - truth[second]) ** 0.5
    rows = max(1, CHUNK // len(draws))
    total = 0.0
    for chunk in (slice(start, start + rows) for start in range(0, len(first), rows)):
        apart = np.sqrt(np.abs(x[first[chunk]] - x[second[chunk]]))
        squares = (true[chunk] - apart.mean(axis=1)) ** 2 - apart.var(axis=1, ddof=1) / len(draws)
        total += float(squares.sum())
    return total / len(first)


@cache
def _pairs(entries: int) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """The pairs of different entries that are compared, as the places of both."""
    count = entries * (entries - 1) // 2
    if count <= PAIRS:
        chosen = np.arange(count)
    else:
        chosen = np.random.default_rng(0).choice(count, PAIRS, replace=False, shuffle=False)
    # The pairs in order are (0, 1), (0, 2), (1, 2), (0, 3), …
    second = np.floor((1 + np.sqrt(1 + 8 * chosen.astype(np.float64))) / 2).astype(int)
    return chosen - second * (second - 1) // 2, second
