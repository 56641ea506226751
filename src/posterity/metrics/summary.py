"""What a table says: scores at a few moments, averaged over cases, with their errors."""

import numpy as np
import xarray as xr

from ..errors import DataError
from . import reference
from .calibration import LEVELS
from .credible import expected_coverage
from .ranks import uniformity

#: Scores of each case at each time, of each case, and of each of its parameters, all with errors.
TIMED = ("rmse", "crps", "energy_score", "variogram_score", *reference.TIMED)
TOTAL = ("log_score", "log_likelihood", "log_likelihood_gap", *reference.TOTAL)
PARAMETERS = ("parameter_error", "parameter_std", "parameter_crps")

#: Credible regions, by highest density and about random points, each with the fraction ``*_rank`` of each case.
REGIONS = ("hpd", "tarp")

#: Scores of each case that need no error, and the cost of a case, by its name in the diagnostics.
PLAIN = ("calibrated_log_likelihood", "reference_gap", "samples")
COSTS = ("seconds", "model_steps", "gradients", "failed")


def summarize(metrics: xr.Dataset, window: int, cycles: int = 1, burn_in: int = 0) -> xr.Dataset:
    r"""Averages scores over cases.

    Scores are means over the cases that have them, with standard errors :math:`s / \sqrt{n}` under the name with
    ``_error`` behind it. The spread–skill ratio is one of means of squares, see :func:`spread_skill`. What a file does
    not have is NaN.

    Of windows that follow each other, the score of a case is the mean over the analyses, see :func:`cycle_average`.

    Args:
        metrics: A ``metrics`` dataset, or a ``comparison`` of several methods.
        window: The number of assimilated states, of each cycle.
        cycles: The number of windows that follow each other.
        burn_in: The number of first cycles to leave out.

    Returns:
        The dataset with dimensions ``(method, moment, level, parameter, space)``, as far as ``metrics`` has them.

        At the start of the window, at its end, and at the end of the forecast if there is one, or of the analyses
        if there are cycles: ``rmse``, ``crps``, ``energy_score``, ``variogram_score``, the distances ``mean_error``,
        ``std_error``, ``covariance_error`` and ``sliced_wasserstein`` (and their ``*_floor``), all with errors;
        ``spread``, ``spread_skill`` with its error, ``coverage``, and ``rank_uniformity``, the p-value of
        :func:`posterity.metrics.uniformity`.

        Of each case: ``log_score``, ``log_likelihood``, ``log_likelihood_gap`` (above the calibrated one),
        ``energy_distance``, ``mmd`` and ``c2st`` (and their ``*_floor``), with errors; ``calibrated_log_likelihood``,
        ``reference_gap``; ``predictive_coverage``; of credible regions ``hpd_coverage`` and ``tarp_coverage`` with the
        p-values ``hpd_uniformity`` and ``tarp_uniformity``; the cost: ``seconds``, ``model_steps``, ``gradients`` and
        ``failed`` draws; ``samples``; and ``cases``, the number of those whose draws did not all fail.

        If methods were classified, ``auc`` with its error, for each space.

        If there are parameters, for each: ``parameter_error``, ``parameter_std`` and ``parameter_crps`` with errors,
        ``parameter_coverage`` and ``parameter_rank_uniformity``.

    Raises:
        DataError: If there are fewer times than the windows have.
    """
    times, length = metrics.sizes["time"], window * cycles
    if times < length:
        raise DataError(f"the metrics have {times} times and the window {length}; 'window' is not that of these files")
    known = _complete(metrics)
    found = _at_moments(known, window, cycles, burn_in).compute()
    result = xr.Dataset(attrs=metrics.attrs)
    floors = [name for name in found.data_vars if str(name).endswith(reference.FLOOR)]
    parameters = [name for name in PARAMETERS if name in found]
    for name in (*TIMED, *TOTAL, *floors, *parameters):
        result[name] = found[name].mean("case", keep_attrs=True)
        result[f"{name}_error"] = standard_error(found[name]).assign_attrs(found[name].attrs)
    for name in ("spread", "coverage", "predictive_coverage", *PLAIN):
        result[name] = found[name].mean("case", keep_attrs=True)
    for name in COSTS:
        result[name] = found[f"info_{name}"].mean("case", keep_attrs=True)
    squares = _at_moments(known[["rmse", "spread"]] ** 2, window, cycles, burn_in).compute()
    ratio, error = spread_skill(squares["rmse"] ** 0.5, squares["spread"] ** 0.5, found["samples"])
    result["spread_skill"], result["spread_skill_error"] = ratio, error
    # Ranks of the cycles of a case depend on each other, and their mean is not uniform: the last one is tested.
    result["rank_uniformity"] = uniformity(_at_moments(known[["rank"]], window, cycles, cycles - 1)["rank"].compute())
    for name in REGIONS:
        result[f"{name}_coverage"] = expected_coverage(found[f"{name}_rank"])
        result[f"{name}_uniformity"] = uniformity(found[f"{name}_rank"])
    if "auc" in metrics:
        result["auc"], result["auc_error"] = metrics["auc"].compute(), metrics["auc_std"].compute()
    if "parameter_rank" in found:
        result["parameter_coverage"] = found["parameter_coverage"].mean("case", keep_attrs=True)
        result["parameter_rank_uniformity"] = uniformity(found["parameter_rank"])
    result["cases"] = found["spread"].notnull().any("moment").sum("case")
    return result


def cycle_average(metrics: xr.Dataset, window: int, burn_in: int = 0) -> xr.Dataset:
    r"""Averages scores over the analyses of windows that follow each other,

    .. math::
        \frac{1}{K - b} \sum_{k = b + 1}^{K} e(t_k) , \qquad
        e(t) = \left( \frac{1}{n} \sum_i (\bar x_i(t) - x_i(t))^2 \right)^{1/2}

    for the error, with :math:`t_k` the last time of window :math:`k`: the root is taken over the entries of a state,
    and the mean over time, as is usual for filters.

    Args:
        metrics: Scores with dimensions ``(…, time, …)``; others are passed on.
        window: The number of states of each window.
        burn_in: The number :math:`b` of first windows to leave out.

    Returns:
        The scores without ``time``; NaN where one of the analyses is missing.

    References:
        | DAPPER: Data Assimilation with Python: a Package for Experimental Research (Raanes, Chen & Grudzien, 2024),
          https://doi.org/10.21105/joss.05150
    """
    ends = np.arange(burn_in + 1, metrics.sizes["time"] // window + 1) * window - 1
    return metrics.isel(time=ends).mean("time", skipna=False, keep_attrs=True)


def calibrated(summary: xr.Dataset) -> xr.DataArray:
    """Whether nothing speaks against the calibration of a method.

    At every moment that it covers, its spread–skill ratio lies within three standard errors of one, and the ranks of
    the truth are uniform at the level of one per cent, shared out over the moments.

    Args:
        summary: A summary, see :func:`summarize`.

    Returns:
        A truth value for each method; false if there is no truth to tell by.
    """
    known = summary["spread_skill"].notnull()
    off = abs(summary["spread_skill"] - 1) > 3 * summary["spread_skill_error"]
    level = 0.01 / known.sum("moment")
    return known.any("moment") & ~(known & (off | (summary["rank_uniformity"] < level))).any("moment")


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
    """
    known = rmse.notnull() & spread.notnull()
    expected = ((samples + 1) / samples * spread**2).where(known)
    actual = (rmse**2).where(known)
    totals = expected.sum("case", min_count=1), actual.sum("case", min_count=1)
    count = known.sum("case")
    without = ((totals[0] - expected) / (totals[1] - actual).where(count > 1)) ** 0.5
    error = ((count - 1) / count.where(count > 1) * ((without - without.mean("case")) ** 2).sum("case")) ** 0.5
    return (totals[0] / totals[1]) ** 0.5, error


def _complete(metrics: xr.Dataset) -> xr.Dataset:
    """What a summary needs, NaN where the file does not have it; floors and parameters only if it has them."""
    timed = xr.full_like(metrics["spread"], np.nan).assign_attrs(units="1")
    total = xr.full_like(metrics["samples"], np.nan, dtype=np.float64).assign_attrs(units="1")
    costs = [f"info_{name}" for name in COSTS]
    nothing = {
        **dict.fromkeys((*TIMED, "spread", "rank"), timed),
        **dict.fromkeys((*TOTAL, *PLAIN, *costs, *(f"{name}_rank" for name in REGIONS)), total),
        "coverage": timed.expand_dims(level=list(LEVELS), axis=-1),
        "predictive_coverage": total.expand_dims(level=list(LEVELS), axis=-1),
    }
    optional = [
        name for name in metrics.data_vars if str(name).endswith(reference.FLOOR) or str(name).startswith("parameter_")
    ]
    found = xr.Dataset({name: metrics.get(name, missing) for name, missing in nothing.items()})
    gap = found["log_likelihood"] - found["calibrated_log_likelihood"]
    return found.assign(log_likelihood_gap=gap.assign_attrs(found["log_likelihood"].attrs)).merge(metrics[optional])


def _at_moments(metrics: xr.Dataset, window: int, cycles: int, burn_in: int) -> xr.Dataset:
    """The scores at the start and the end of the window and at the end of the forecast; of cycles, at the analyses."""
    if cycles > 1:
        found = cycle_average(metrics, window, burn_in)
        axes = {name: score.dims.index("time") for name, score in metrics.items() if "time" in score.dims}
        return found.assign({name: found[name].expand_dims(moment=["analysis"], axis=axes[name]) for name in axes})
    times = metrics.sizes["time"]
    moments = {"start": 0, "window end": window - 1} | ({"forecast end": times - 1} if times > window else {})
    index = xr.DataArray(list(moments.values()), dims="moment", coords={"moment": list(moments)})
    return metrics.isel(time=index)
