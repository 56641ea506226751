"""What figures are drawn of: a figure by name, one case of datasets, and histories of trainings. Imports no torch."""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from ..errors import PosterityError
from ..experiment import catalog
from ..figures.drawing.film import Film

#: The curves of a training.
CURVES = ("train_loss", "valid_loss", "seconds")


def draw(figure: str, sources: Mapping[str, Callable[[], Any]]) -> Figure | Film:
    """Draws a figure of the catalogue, which names what it draws by its parameters.

    Args:
        figure: Its name.
        sources: What figures draw, each made when it is asked for: ``twin``, ``posteriors``, ``reference`` and
            ``standard`` of one case, ``twins``, ``metrics``, ``classifiers`` and ``summary`` of all, and so on.

    Returns:
        The figure, or the one that moves.
    """
    function = catalog.resolve("figure", figure)
    drawn: Figure | Film = function(**{name: sources[name]() for name in signature(function).parameters})
    return drawn


def one_case(twins: xr.Dataset, case: int, source: str, key: str = "case") -> xr.Dataset:
    """One case of twins, lazily; its number is the scalar coordinate ``case``.

    Args:
        twins: The twins.
        case: Its place among them.
        source: What messages call them.
        key: What says which case.

    Raises:
        PosterityError: If there is no such case.
    """
    count = twins.sizes["case"]
    if not 0 <= case < count:
        raise PosterityError(f"{source}: has {count} cases, so there is no case {case}; change '{key}'")
    return twins.assign_coords(case=twins["case"]).isel(case=case)


def of_case(posterior: xr.Dataset, case: Any) -> xr.Dataset | None:
    """What figures show of the draws of one case; None if there are none of it."""
    try:
        return posterior[[name for name in ("state", "theta", "info_ess") if name in posterior]].sel(case=case)
    except (KeyError, IndexError):
        return None


def observes_state(twin: xr.Dataset, draws: Callable[[], xr.Dataset]) -> bool:
    """Whether observations are of the state itself: what the twin says of them, or else the draws."""
    said = twin["observation"].attrs
    return bool(said["of_state"] if "of_state" in said else draws().attrs.get("of_state", False))


def histories(
    records: Mapping[str, Sequence[Mapping[str, float]]], groups: Sequence[str], units: Sequence[str]
) -> xr.Dataset:
    """The histories of trainings side by side, NaN behind the end of shorter ones.

    Args:
        records: What each method's training was at the end of each epoch.
        groups: The group that each method is shown in.
        units: The units of each loss.
    """
    found = [
        xr.Dataset(
            {name: ("epoch", [record[name] for record in history]) for name in CURVES},
            {"epoch": [record["epoch"] for record in history]},
        )
        for history in records.values()
    ]
    method = xr.Variable("method", list(records))
    joined = xr.concat(found, dim=method, join="outer") if found else xr.Dataset(coords={"method": []})
    return joined.assign_coords(group=("method", list(groups)), unit=("method", list(units)))
