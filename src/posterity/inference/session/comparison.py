"""Scores of posteriors, and methods side by side. Imports no torch."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from ...data import accept, along_methods
from ...errors import DataError
from ...metrics import COVERED, calibrated, judged_moment, summarize
from ...metrics.table import headed
from ..scores import Sources, scored

#: The share of a step by which times of twins may be off a state.
TOLERANCE = 0.25

#: Posteriors by name, or one.
Posteriors = Mapping[str, xr.Dataset] | xr.Dataset


def evaluate(
    twin: xr.Dataset, posterior: xr.Dataset, reference: xr.Dataset | None = None, window: int | None = None
) -> xr.Dataset:
    """Scores a posterior against the truth, and against a reference if there is one.

    Args:
        twin: A ``twin`` dataset; without a ``state``, the scores against the truth are left out.
        posterior: A ``posterior`` dataset of some or all of its cases.
        reference: Another one, of the reference.
        window: The number of assimilated states; as the posterior says if None.

    Returns:
        A ``metrics`` dataset: ``rmse(case, time)``, ``crps(case, time)``, ``coverage(case, time, level)``, …; see
        :mod:`posterity.metrics.table`. Lazy if the posterior is.

    Raises:
        DataError: If the datasets are not of these kinds, or do not belong together.
    """
    twin, posterior = accept(twin, "twin", "twin"), accept(posterior, "posterior", "posterior")
    held = None if reference is None else accept(reference, "posterior", "reference")
    return scored(twin, posterior, held, window or _length(posterior), TOLERANCE, Sources())


def compare(twin: xr.Dataset, posteriors: Posteriors, reference: xr.Dataset | None = None) -> Any:
    """Sets methods side by side: what the table of an experiment shows at the end of the window.

    Args:
        twin: A ``twin`` dataset.
        posteriors: A ``posterior`` dataset for each method, by the name that the table shows; or one alone.
        reference: One of the reference, if there is one.

    Returns:
        A ``pandas.DataFrame``: a row for each method, and a column for each score, named as
        :mod:`posterity.metrics.table` has it, averaged over cases; of a coverage that of 90 % intervals. Scores that no
        method has are left out.

    Raises:
        DataError: If the datasets are not of these kinds, or do not belong together.
    """
    return tabled(summary_of(comparison(twin, posteriors, reference)))


def comparison(twin: xr.Dataset, posteriors: Posteriors, reference: xr.Dataset | None = None) -> xr.Dataset:
    """The scores of several posteriors side by side, see :func:`evaluate`; a ``comparison`` dataset."""
    draws = named(posteriors)
    found = along_methods({name: evaluate(twin, each, reference) for name, each in draws.items()})
    return found.assign_attrs(_lengths(next(iter(draws.values()))))


def named(posteriors: Posteriors) -> dict[str, xr.Dataset]:
    """Posteriors by name; one alone has the name of its method.

    Raises:
        DataError: If there are none.
    """
    if isinstance(posteriors, xr.Dataset):
        return {str(posteriors.attrs.get("method", "posterior")): posteriors}
    if not posteriors:
        raise DataError("posteriors: there are none; give at least one, {name: posterior}")
    return dict(posteriors)


def summary_of(scores: xr.Dataset) -> xr.Dataset:
    """The averages over cases of a comparison, at its moments."""
    return summarize(scores, int(scores.attrs["window"]), int(scores.attrs["cycles"]))


def tabled(summary: xr.Dataset) -> Any:
    """The averages over cases at the moment by which methods are judged, a row for each method."""
    at = summary.sel(moment=judged_moment(summary))
    found = {"cases": summary["cases"]}
    for name in ("rmse", "spread", *(quantity.name for quantity, _ in headed())):
        if name in at and not at[name].isnull().all():
            found[name] = at[name].sel(level=COVERED) if "level" in at[name].dims else at[name]
    found["calibrated"] = calibrated(summary)
    table = xr.Dataset(found)
    return table.drop_vars([name for name in table.coords if name != "method"]).to_dataframe()


def _length(posterior: xr.Dataset) -> int:
    """The number of assimilated states of a posterior, as it says."""
    lengths = _lengths(posterior)
    return lengths["window"] * lengths["cycles"]


def _lengths(posterior: xr.Dataset) -> dict[str, int]:
    """The numbers of states of a window and of windows, as a posterior says them."""
    try:
        return {name: int(posterior.attrs[name]) for name in ("window", "cycles")}
    except KeyError as error:
        raise DataError(
            f"posterior: has no attribute {error}, the number of assimilated states; add it, as by "
            "posterior.assign_attrs(window=12, cycles=1)"
        ) from None
