"""Summaries: scores at a few moments, averaged over cases, with their errors."""

import numpy as np
import xarray as xr

from ..errors import DataError
from .calibration import LEVELS
from .score import Score, Source
from .scores import ENTRIES
from .table import attributes, averaged

#: The moment by which methods are judged: the end of the window, or the analyses of windows that follow each other.
WINDOW_END, ANALYSIS = "window end", "analysis"

#: The level of tests of calibration.
REJECTED = 0.01


def summarize(metrics: xr.Dataset, window: int, cycles: int = 1, burn_in: int = 0) -> xr.Dataset:
    r"""Averages scores over cases.

    Scores are means over the cases that have them, with standard errors :math:`s / \sqrt{n}` under the name with
    ``_error`` behind it, and the number of these cases with ``_cases`` behind it. The spread–skill ratio is one of
    means of squares, see :func:`spread_skill`. What a file does not have is NaN.

    Of windows that follow each other, the score of a case is the mean over the analyses, see :func:`cycle_average`.

    Args:
        metrics: A ``metrics`` dataset, or a ``comparison`` of several methods.
        window: The number of assimilated states, of each cycle.
        cycles: The number of windows that follow each other.
        burn_in: The number of first cycles to leave out.

    Returns:
        The dataset with dimensions ``(method, moment, level, parameter, space)``, as far as ``metrics`` has them: the
        averages of the scores in :mod:`posterity.metrics.table`, and ``cases``: the number of cases that have an error
        at some moment or, if there is no truth, draws. Scores that depend on time are given at the start of the window,
        at its end, and at the end of the forecast if there is one, or of the analyses if there are cycles.

    Raises:
        DataError: If there are fewer times than the windows have.
    """
    times, length = metrics.sizes["time"], window * cycles
    if times < length:
        raise DataError(f"the metrics have {times} times and the window {length}; 'window' is not that of these files")
    known = _complete(metrics)
    found = at_moments(known, window, cycles, burn_in).compute()
    # Ranks of the cycles of a case depend on each other, and their mean is not uniform: the last one is tested.
    found["rank"] = at_moments(known[["rank"]], window, cycles, cycles - 1)["rank"].compute()
    result = xr.Dataset(attrs=metrics.attrs)
    for name, _, average in averaged():
        if name in found:
            result.update(average(name, found[name]))
            result[f"{name}_cases"] = _count(found[name])
    squares = at_moments(known[["rmse", "spread"]] ** 2, window, cycles, burn_in).compute()
    ratio, error = spread_skill(squares["rmse"] ** 0.5, squares["spread"] ** 0.5, found["samples"])
    result["spread_skill"], result["spread_skill_error"] = ratio, error
    result["spread_skill_cases"] = _count(found["rmse"] + found["spread"])
    if "auc" in metrics:
        result["auc"], result["auc_error"] = metrics["auc"].compute(), metrics["auc_std"].compute()
    counts = [_count(found[name]).max("moment") for name in ("rmse", "drawn")]
    result["cases"] = counts[0].where(counts[0] > 0, counts[1])
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


def judged_moment(summary: xr.Dataset) -> str:
    """The moment by which methods are judged.

    Args:
        summary: A summary, see :func:`summarize`.

    Returns:
        ``window end``, or ``analysis`` if windows follow each other.
    """
    return next(moment for moment in (WINDOW_END, ANALYSIS) if moment in summary["moment"].values)


def calibrated(summary: xr.Dataset) -> xr.DataArray:
    r"""Whether a method passes the tests of calibration over cases.

    Each test (see :func:`calibration_tests`) has the level of one per cent, shared out over the moments.

    Args:
        summary: A summary, see :func:`summarize`.

    Returns:
        For each method 0 if a test rejects, and 1 if none does and both could at every moment that the method covers.
        NaN otherwise: without a truth, or with so few cases (less than ten) that there are no tests, nothing is known.
    """
    tests = calibration_tests(summary)
    known = tests.notnull()
    covered = known.any("test")
    rejected = (tests < REJECTED / known.sum("moment")).any(["test", "moment"])
    passed = covered.any("moment") & (known.all("test") | ~covered).all("moment")
    return xr.where(rejected, 0.0, xr.where(passed, 1.0, np.nan))


def calibration_tests(summary: xr.Dataset) -> xr.DataArray:
    r"""The p-values of two tests of calibration at each moment.

    One asks whether the spread–skill ratio :math:`r` is one, by Student's :math:`t = (r - 1) / s_r` with one degree of
    freedom less than there are cases, the other whether the ranks of the truth are uniform.

    Args:
        summary: A summary, see :func:`summarize`.

    Returns:
        The p-values, with the dimension ``test`` (``spread_skill``, ``rank_uniformity``) first; NaN where there is no
        test.
    """
    # Takes a second to import, which figures can do without.
    from scipy.stats import t

    deviation = abs(summary["spread_skill"] - 1) / summary["spread_skill_error"]
    ratio = xr.apply_ufunc(lambda size, cases: 2 * t.sf(size, cases - 1), deviation, summary["spread_skill_cases"])
    return xr.concat([ratio, summary["rank_uniformity"]], xr.Variable("test", ["spread_skill", "rank_uniformity"]))


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


def _count(score: xr.DataArray) -> xr.DataArray:
    """The number of cases that have a score."""
    return score.notnull().any([name for name in ("level",) if name in score.dims]).sum("case")


def _complete(metrics: xr.Dataset) -> xr.Dataset:
    """The scores to average, NaN where the file does not have them; floors and parameters only if it has them.

    With ``drawn``, a number where there are draws.
    """
    mean = metrics["mean"]
    found = {"drawn": mean.isel({name: 0 for name in ENTRIES if name in mean.dims}, drop=True)}
    for name, score, _ in averaged():
        if name in metrics:
            found[name] = metrics[name]
        elif name == score.name and score.source is not Source.SUMMARY and "parameter" not in score.dims:
            found[name] = _missing(metrics, score)
    known = xr.Dataset(found)
    # What is known of a case whose draws all failed is no score of theirs.
    some = known["drawn"].notnull().any("time")
    known = known.assign({name: known[name].where(some) for name in ("samples", "calibrated_log_likelihood")})
    gap = known["log_likelihood"] - known["calibrated_log_likelihood"]
    return known.assign(
        log_likelihood_gap=gap.assign_attrs(known["log_likelihood"].attrs),
        seconds_per_draw=(known["info_seconds"] / known["samples"]).assign_attrs(attributes("seconds_per_draw")),
    )


def _missing(metrics: xr.Dataset, score: Score) -> xr.DataArray:
    """The stand-in for a score that a file lacks: NaN for every case."""
    like = metrics["spread"] if "time" in score.dims else metrics["samples"].astype(np.float64)
    nothing = xr.full_like(like, np.nan).assign_attrs(units="1")
    return nothing.expand_dims(level=list(LEVELS), axis=-1) if "level" in score.dims else nothing


def at_moments(metrics: xr.Dataset, window: int, cycles: int, burn_in: int) -> xr.Dataset:
    """The scores at the start and the end of the window and at the end of the forecast; of cycles, at the analyses.

    Args:
        metrics: Scores with dimensions ``(…, time, …)``; others are passed on.
        window: The number of assimilated states, of each cycle.
        cycles: The number of windows that follow each other.
        burn_in: The number of first cycles to leave out.

    Returns:
        The scores with ``moment`` in the place of ``time``.
    """
    if cycles > 1:
        found = cycle_average(metrics, window, burn_in)
        axes = {name: score.dims.index("time") for name, score in metrics.items() if "time" in score.dims}
        return found.assign({name: found[name].expand_dims(moment=[ANALYSIS], axis=axes[name]) for name in axes})
    times = metrics.sizes["time"]
    moments = {"start": 0, WINDOW_END: window - 1} | ({"forecast end": times - 1} if times > window else {})
    index = xr.DataArray(list(moments.values()), dims="moment", coords={"moment": list(moments)})
    return metrics.isel(time=index)
