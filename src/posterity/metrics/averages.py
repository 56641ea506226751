"""Averages over cases: what a summary makes of a score, each with the names of its results."""

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from .credible import expected_coverage
from .ranks import uniformity

#: Makes results, by their names, of a score's name and its values, with dimensions ``(…, case, …)``.
Average = Callable[[str, xr.DataArray], Mapping[str, xr.DataArray]]


def mean(name: str, score: xr.DataArray) -> dict[str, xr.DataArray]:
    """The mean over the cases that have the score."""
    return {name: score.mean("case", keep_attrs=True)}


def with_error(name: str, score: xr.DataArray) -> dict[str, xr.DataArray]:
    """The mean and, under the name with ``_error`` behind it, its standard error."""
    return mean(name, score) | {f"{name}_error": standard_error(score).assign_attrs(score.attrs)}


def cost(name: str, score: xr.DataArray) -> dict[str, xr.DataArray]:
    """The mean of a diagnostic, without the prefix of its name."""
    return mean(name.removeprefix("info_"), score)


def uniform(name: str, rank: xr.DataArray) -> dict[str, xr.DataArray]:
    """The p-value of uniform ranks, ``*_uniformity``."""
    return {f"{name}_uniformity": uniformity(rank)}


def credible(name: str, rank: xr.DataArray) -> dict[str, xr.DataArray]:
    """The coverage of credible regions and the p-value of uniform credibilities, of the fraction ``*_rank``."""
    region = name.removesuffix("_rank")
    return {f"{region}_coverage": expected_coverage(rank), f"{region}_uniformity": uniformity(rank)}


def standard_error(score: xr.DataArray) -> xr.DataArray:
    r"""The standard error of a mean over cases, :math:`s / \sqrt{n}`, of the cases that have the score.

    Args:
        score: The score, with dimensions ``(…, case, …)``.

    Returns:
        The error, without ``case``; NaN if there are fewer than two cases, or the mean is infinite.
    """
    count, average = score.notnull().sum("case"), score.mean("case")
    squares = ((score - average) ** 2).sum("case").where(np.isfinite(average))
    return (squares / ((count - 1) * count).where(count > 1)) ** 0.5
