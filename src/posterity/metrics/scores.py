"""Scores of an ensemble against the truth, entry by entry, then averaged over channels and grid.

An ensemble ``state`` has the dimensions ``(case, sample, time, channel[, y, x])``, a ``truth`` the same without
``sample``. Only the dimensions that a function names are reduced; whatever else is there is kept. Everything is
lazy over dask. A missing member (NaN) makes the scores of its case missing, and of no other.
"""

from typing import TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

#: The dimensions of one state: its channels and its grid.
ENTRIES = ("channel", "y", "x")

#: The least standard deviation relative to the mean that is a spread, and not rounding: files are in single precision.
RESOLUTION = 1e-7

Moments = TypeVar("Moments", NDArray[np.float64], xr.DataArray)


def over_entries(field: xr.DataArray) -> xr.DataArray:
    """The mean over channels and grid.

    Args:
        field: One value per entry, with dimensions ``(…, channel[, y, x])``.

    Returns:
        The mean, with dimensions ``(…)``.
    """
    return field.mean([name for name in ENTRIES if name in field.dims], skipna=False)


def whole(draws: xr.DataArray) -> xr.DataArray:
    """Lazy draws in chunks along case and time alone, for what needs all samples and entries at once."""
    if draws.chunks is None:
        return draws
    return draws.chunk({name: -1 for name in draws.dims if name not in ("case", "time")})


def mean(state: xr.DataArray) -> xr.DataArray:
    r"""The mean of the draws, :math:`\bar x = S^{-1} \sum_s x_s`, in double precision."""
    return state.mean("sample", skipna=False, dtype=np.float64)


def variance(state: xr.DataArray) -> xr.DataArray:
    r"""The unbiased variance of the draws, :math:`(S - 1)^{-1} \sum_s (x_s - \bar x)^2`; NaN for a single draw."""
    if state.sizes["sample"] == 1:
        return xr.full_like(state.isel(sample=0, drop=True), np.nan, dtype=np.float64)
    return state.var("sample", skipna=False, ddof=1, dtype=np.float64)


def unit(average: Moments, std: Moments) -> Moments:
    """The unit of distances to a reference: its standard deviation, and that of the state for what has no spread.

    Args:
        average: The mean of the reference.
        std: Its standard deviation, with the same shape.

    Returns:
        The standard deviation; one where it is zero, or as small as the rounding of the mean.
    """
    without = std <= RESOLUTION * abs(average)
    return std + without * (1 - std)


def rmse(average: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    r"""The root-mean-square error of the mean, :math:`(n^{-1} \sum_i (\bar x_i - x_i)^2)^{1/2}`.

    Args:
        average: The mean of the draws, with dimensions ``(case, time, channel[, y, x])``.
        truth: The true states, with the same dimensions.

    Returns:
        The error over channels and grid, with dimensions ``(case, time)``, in units of the state.
    """
    return over_entries((average - truth) ** 2) ** 0.5


def spread(var: xr.DataArray) -> xr.DataArray:
    r"""The root of the mean variance, :math:`(n^{-1} \sum_i s_i^2)^{1/2}`.

    For a calibrated ensemble of :math:`S` draws, :math:`(S + 1) / S` times its square is, in expectation, the
    squared error of the mean.

    Args:
        var: The unbiased variance, with dimensions ``(case, time, channel[, y, x])``.

    Returns:
        The spread over channels and grid, with dimensions ``(case, time)``, in units of the state.

    References:
        | Why should ensemble spread match the RMSE of the ensemble mean? (Fortin et al., 2014),
          https://doi.org/10.1175/JHM-D-14-0008.1
    """
    return over_entries(var) ** 0.5


def crps(state: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    r"""The fair continuous ranked probability score, its expectation that of an infinite ensemble:

    .. math::
        \frac{1}{S} \sum_s |x_s - x| - \frac{1}{2 S (S - 1)} \sum_{s, r} |x_s - x_r| .

    Args:
        state: The draws, with dimensions ``(case, sample, time, channel[, y, x])``.
        truth: The true states, with dimensions ``(case, time, channel[, y, x])``.

    Returns:
        The mean over channels and grid, with dimensions ``(case, time)``, in units of the state; NaN for a single
        draw.

    References:
        | Estimation of the continuous ranked probability score with limited information and applications to
          ensemble weather forecasts (Zamo & Naveau, 2018), https://doi.org/10.1007/s11004-017-9709-7
    """
    return over_entries(
        xr.apply_ufunc(
            _crps,
            state,
            truth,
            input_core_dims=[["sample"], []],
            dask="parallelized",
            output_dtypes=[np.float64],
        )
    )


def log_score(truth_log_q: xr.DataArray) -> xr.DataArray:
    r"""The logarithmic score, minus the log-density of the truth, :math:`-\log q(z | y)`.

    It is proper, and averaged over the joint it is the divergence :math:`KL(p \| q)` above the entropy of the
    posterior. The density is that of what a method learns, standardised: methods that learn the same compare. Of a
    truth that a posterior rules out, it is infinite.

    Args:
        truth_log_q: The log-density of the truth, with dimensions ``(case,)``.

    Returns:
        The score, with dimension ``(case,)``, in nats.

    References:
        | Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting & Raftery, 2007),
          https://doi.org/10.1198/016214506000001437
    """
    return -truth_log_q.astype(np.float64)


def _crps(state: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The fair score of draws along the last axis, by probability-weighted moments: a sort instead of all pairs."""
    if state.shape[-1] == 1:
        return np.full(state.shape[:-1], np.nan)
    # Laid out along the samples first, the sort runs through memory once.
    ordered = np.array(state, order="C")
    ordered.sort(axis=-1)
    errors = np.subtract(ordered, np.asarray(truth)[..., None], dtype=np.float64)
    # The weights add up to nothing, so that errors may stand for draws: half the mean distance between two of these.
    weights = (1 - 2 * np.arange(state.shape[-1]) / (state.shape[-1] - 1)) / state.shape[-1]
    return np.abs(errors).mean(axis=-1) + errors @ weights
