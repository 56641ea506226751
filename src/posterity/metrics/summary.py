"""What a table says: scores at a few moments, averaged over cases, with their errors."""

import numpy as np
import xarray as xr

from ..errors import DataError
from .calibration import LEVELS

#: Scores of each case at each time, and of each case; the cost of a case, by its name in the diagnostics.
TIMED, TOTAL, COSTS = ("rmse", "crps"), ("log_likelihood",), ("seconds", "model_steps", "gradients", "failed")


def summarize(metrics: xr.Dataset, window: int) -> xr.Dataset:
    r"""Averages scores over cases.

    Scores are means over the cases that have them, with standard errors :math:`s / \sqrt{n}`. The spread–skill
    ratio is one of means of squares, see :func:`spread_skill`. What a file does not have is NaN.

    Args:
        metrics: A ``metrics`` dataset, or a ``comparison`` of several methods.
        window: The number of assimilated states.

    Returns:
        The dataset with dimensions ``(method, moment, level)``, as far as ``metrics`` has them: ``rmse``,
        ``rmse_error``, ``spread``, ``spread_skill``, ``spread_skill_error``, ``crps``, ``crps_error`` and
        ``coverage`` at the start of the window, at its end, and at the end of the forecast if there is one;
        ``log_likelihood``, ``log_likelihood_error``, ``calibrated_log_likelihood``; the cost per case: ``seconds``,
        ``model_steps``, ``gradients`` and ``failed`` draws; ``samples``; and ``cases``, the number of those whose
        draws did not all fail.

    Raises:
        DataError: If there are fewer times than the window has.
    """
    found = _at_moments(_complete(metrics), window).compute()
    result = xr.Dataset(attrs=metrics.attrs)
    for name in (*TIMED, *TOTAL):
        result[name] = found[name].mean("case", keep_attrs=True)
        result[f"{name}_error"] = standard_error(found[name]).assign_attrs(found[name].attrs)
    for name in ("spread", "coverage", "calibrated_log_likelihood", "samples"):
        result[name] = found[name].mean("case", keep_attrs=True)
    for name in COSTS:
        result[name] = found[f"info_{name}"].mean("case", keep_attrs=True)
    ratio, error = spread_skill(found["rmse"], found["spread"], found["samples"])
    result["spread_skill"], result["spread_skill_error"] = ratio, error
    result["cases"] = found["spread"].notnull().any("moment").sum("case")
    return result


def standard_error(score: xr.DataArray) -> xr.DataArray:
    r"""The standard error of a mean over cases, :math:`s / \sqrt{n}`, of the cases that have the score.

    Args:
        score: The score, with dimensions ``(…, case, …)``.

    Returns:
        The error, without ``case``; NaN if there are fewer than two cases.
    """
    count = score.notnull().sum("case")
    squares = ((score - score.mean("case")) ** 2).sum("case")
    return (squares / ((count - 1) * count).where(count > 1)) ** 0.5


def spread_skill(rmse: xr.DataArray, spread: xr.DataArray, samples: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    r"""The spread–skill ratio over cases, one if calibrated, less if overconfident:

    .. math::
        \left( \sum_c \frac{S + 1}{S} \sigma_c^2 \Big/ \sum_c e_c^2 \right)^{1/2} ,

    for the spread :math:`\sigma_c` and the error :math:`e_c` of the mean of :math:`S` draws of each case.

    Args:
        rmse: The error of each case, with dimensions ``(…, case, …)``.
        spread: The spread of each case, with the same dimensions.
        samples: The number of draws, with some of these dimensions.

    Returns:
        The ratio and its standard error (a jackknife over cases), without ``case``.

    References:
        | Why should ensemble spread match the RMSE of the ensemble mean? (Fortin et al., 2014),
          https://doi.org/10.1175/JHM-D-14-0008.1
    """  # noqa: D415
    known = rmse.notnull() & spread.notnull()
    expected = ((samples + 1) / samples * spread**2).where(known)
    actual = (rmse**2).where(known)
    totals = expected.sum("case", min_count=1), actual.sum("case", min_count=1)
    count = known.sum("case")
    without = ((totals[0] - expected) / (totals[1] - actual).where(count > 1)) ** 0.5
    error = ((count - 1) / count.where(count > 1) * ((without - without.mean("case")) ** 2).sum("case")) ** 0.5
    return (totals[0] / totals[1]) ** 0.5, error


def _complete(metrics: xr.Dataset) -> xr.Dataset:
    """What a summary needs, NaN where the file does not have it."""
    timed = xr.full_like(metrics["spread"], np.nan).assign_attrs(units="1")
    total = xr.full_like(metrics["samples"], np.nan, dtype=np.float64).assign_attrs(units="1")
    nothing = {
        **dict.fromkeys(TIMED, timed),
        **dict.fromkeys((*TOTAL, "calibrated_log_likelihood", *(f"info_{name}" for name in COSTS)), total),
        "coverage": timed.expand_dims(level=list(LEVELS), axis=-1),
    }
    found = {name: metrics.get(name, missing) for name, missing in nothing.items()}
    return xr.Dataset({**found, "spread": metrics["spread"], "samples": metrics["samples"]})


def _at_moments(metrics: xr.Dataset, window: int) -> xr.Dataset:
    """The scores at the start and the end of the window, and at the end of the forecast."""
    times = metrics.sizes["time"]
    if times < window:
        raise DataError(f"the metrics have {times} times and the window {window}; 'window' is not that of these files")
    moments = {"start": 0, "window end": window - 1} | ({"forecast end": times - 1} if times > window else {})
    index = xr.DataArray(list(moments.values()), dims="moment", coords={"moment": list(moments)})
    return metrics.isel(time=index)
