"""Scores of unknown parameters, each for itself."""

import xarray as xr

from . import calibration, ranks, scores


def parameter_scores(draws: xr.DataArray, truth: xr.DataArray | None) -> dict[str, xr.DataArray]:
    r"""Scores the draws of parameters, in the units of each.

    Args:
        draws: The draws, with dimensions ``(case, sample, parameter)``.
        truth: The true parameters, with dimensions ``(case, parameter)``; None if unknown.

    Returns:
        ``parameter_mean`` and ``parameter_std``; with a truth also ``parameter_error``, the absolute error of the mean
        :math:`|\bar\theta - \theta|`, ``parameter_crps`` (fair), ``parameter_rank`` (a fraction) and
        ``parameter_coverage`` of central intervals. Dimensions are ``(case, parameter)``, and ``level`` behind.
    """
    average = scores.mean(draws)
    found = {"parameter_mean": average, "parameter_std": scores.variance(draws) ** 0.5}
    if truth is None:
        return found
    low, high = calibration.pit(draws, truth)
    return found | {
        "parameter_error": abs(average - truth),
        "parameter_crps": scores.crps(draws, truth),
        "parameter_rank": ranks.parameter_rank(low, high),
        "parameter_coverage": calibration.coverage(low, high),
    }
