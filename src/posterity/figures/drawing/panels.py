"""Panels of several figures: fields over time and site, the end of the window, chosen rows and times."""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Colormap, Normalize

from ...errors import PosterityError
from .style import MISSING, WINDOW_END

#: Places along a grid: numbers or, in the plane, pairs.
Sites = Sequence[int | tuple[int, int]]

#: The most times in a figure over time, and the most entries that are chosen in the plane.
MOST, ENTRIES = 120, 6


def rows(variable: xr.DataArray) -> xr.DataArray:
    """Stacks channels and sites into a last dimension ``row``.

    Args:
        variable: A state, an observation or a field like them.

    Returns:
        The variable, with dimensions ``(…, row)``.
    """
    event = [name for name in ("channel", "obs_channel", "y", "obs_y", "x", "obs_x") if name in variable.dims]
    return variable.stack(row=event, create_index=False)


def middle_row(dataset: xr.Dataset) -> xr.Dataset:
    """The middle row of a plane, which figures over time and site draw of it; other datasets are left as they are."""
    return dataset.isel({name: dataset.sizes[name] // 2 for name in ("y", "obs_y") if name in dataset.dims})


def row_names(variable: xr.DataArray) -> list[str]:
    """The name of each row of :func:`rows`, of a variable before it is stacked."""
    channels = [str(name) for name in variable["channel"].values]
    if "x" not in variable.dims:
        return channels
    if "y" in variable.dims:
        sites = [f"({_site(y)}, {_site(x)})" for y in variable["y"].values for x in variable["x"].values]
        return [f"{channel} {site}" for channel in channels for site in sites]
    sites = [site if isinstance(site, str) else f"site {_site(site)}" for site in variable["x"].values]
    return sites if len(channels) == 1 else [f"{channel}, {site}" for channel in channels for site in sites]


def _site(place: float | str) -> str:
    """The place of a site along an axis, a number, of which four digits tell sites apart, or a name."""
    if isinstance(place, str):
        return place
    return f"{place:g}" if float(place).is_integer() else f"{place:.4g}"


def chosen_rows(state: xr.DataArray, sites: Sites | None, figure: str) -> list[int]:
    """The rows that figures of a few entries draw.

    Args:
        state: A state, before it is stacked by :func:`rows`.
        sites: Places along the grid, of every channel, pairs ``(y, x)`` in the plane; three at equal distances if
            omitted, in the plane along its diagonal, and fewer of more than two channels.
        figure: The figure's name, for messages.

    Returns:
        The places along ``row``; all channels if there is no grid.

    Raises:
        PosterityError: If there is no such site.
    """
    channels = state.sizes["channel"]
    if "x" not in state.dims:
        return list(range(channels))
    sizes = [state.sizes[name] for name in ("y", "x") if name in state.dims]
    # In the plane states have several channels as a rule, and their entries must stand beside each other.
    count = 3 if len(sizes) == 1 else max(1, min(3, ENTRIES // channels))
    chosen = [[size * k // count for size in sizes] for k in range(count)] if sites is None else sites
    given = [tuple(int(place) for place in np.atleast_1d(site)) for site in chosen]
    for site in given:
        if len(site) != len(sizes) or not all(0 <= place < size for place, size in zip(site, sizes, strict=True)):
            known = f"sites 0 to {sizes[0] - 1}" if len(sizes) == 1 else f"sites [y, x] below {sizes}"
            raise PosterityError(
                f"figure '{figure}': there is no site {', '.join(map(str, site))}: the grid has {known}; "
                "change 'figures.sites' in the experiment"
            )
    places = dict.fromkeys(int(np.ravel_multi_index(site, sizes)) for site in given)
    return [channel * prod(sizes) + place for channel in range(channels) for place in places]


def row_label(variable: xr.DataArray) -> str:
    """The label of an axis along :func:`rows`, of a variable before it is stacked."""
    channels = variable.sizes["channel"]
    if "x" not in variable.dims:
        return "channel"
    row = f" of the row y = {_site(variable['y'].item())}" if "y" in variable.coords else ""
    return f"site{row}" if channels == 1 else f"site{row}, {channels} channels stacked"


def row_ticks(axes: Axes, variable: xr.DataArray) -> None:
    """Puts ticks on the vertical axis of a field: a few sites, or all channels by name if there is no grid."""
    if "x" in variable.dims:
        axes.locator_params(axis="y", nbins=3, integer=True)
    else:
        axes.set_yticks(range(variable.sizes["channel"]), [str(name) for name in variable["channel"].values])


def name_row(axes: Axes, name: str) -> None:
    """Labels a row of panels to the left of its first one, horizontally, so that low rows have room for long names."""
    axes.set_ylabel(name, rotation=0, ha="right", va="center")


def field(
    axes: Axes, time: np.ndarray, values: np.ndarray, cmap: Colormap, norm: Normalize, row: np.ndarray | None = None
) -> QuadMesh:
    """Draws a field over time (across) and row (upwards); hatched where there is no value.

    Args:
        axes: The panel.
        time: The times, with shape ``(time,)``.
        values: The field, with shape ``(time, row)``.
        cmap: The colour map.
        norm: The colour scale.
        row: The places of the rows, with shape ``(row,)``; their numbers if omitted.

    Returns:
        The mesh, for a colour bar.
    """
    axes.set_facecolor(MISSING)
    axes.patch.set_hatch("//////")
    mesh = axes.pcolormesh(
        edges(time),
        edges(np.arange(values.shape[1]) if row is None else row),
        np.ma.masked_invalid(values.T),
        cmap=cmap,
        norm=norm,
    )
    # Hundreds of thousands of vector cells would make files that no viewer opens.
    mesh.set_rasterized(True)
    axes.spines[:].set_visible(True)
    return mesh


def edges(centres: np.ndarray) -> np.ndarray:
    """The borders of the cells around given centres, one more than these."""
    centres = np.asarray(centres, dtype=float)
    if len(centres) == 1:
        return centres[0] + np.array([-0.5, 0.5])
    middle = 0.5 * (centres[1:] + centres[:-1])
    return np.concatenate(([2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]))


def end_at(axes: Axes, top: float, heights: Sequence[np.ndarray]) -> None:
    """Ends a histogram's panel at a height, and writes at both sides how high the bars are that are cut there."""
    axes.set_ylim(0, top)
    for side, (place, align) in enumerate(((0.09, "left"), (0.91, "right"))):
        highest = max((np.array_split(values, 2)[side].max() for values in heights), default=0.0)
        if highest > top:
            axes.text(place, 0.96 * top, f"{highest:.1f}", ha=align, va="top")


def window_line(axes: Axes, time: np.ndarray, window: int, cells: bool = False) -> None:
    """Marks the end of the window, if a forecast follows.

    Args:
        axes: The panel.
        time: All times.
        window: The number of assimilated states.
        cells: Whether times are drawn as cells, on the border of the last of which the line then stands.
    """
    if window < len(time):
        position = edges(time)[window] if cells else time[window - 1]
        if cells:
            axes.axvline(position, color="white", linewidth=1.4)
        axes.axvline(position, color=WINDOW_END, linestyle=(0, (4, 2)), linewidth=0.9)


def moments(times: int, window: int) -> Mapping[str, int]:
    """The moments at which posteriors are judged, with their index in time.

    Args:
        times: The number of times.
        window: The number of assimilated states.

    Returns:
        ``start``, unless the window has no other state, ``window end`` and, if there is a forecast, ``forecast end``.
    """
    found = {"start": 0, "window end": window - 1} if window > 1 else {"window end": 0}
    return found | {"forecast end": times - 1} if times > window else found


def stretch(times: int, window: int) -> slice:
    """The times that figures over time show: all, or those about the window's end if there are too many.

    Args:
        times: The number of times.
        window: The number of assimilated states.

    Returns:
        The indices of at most :data:`MOST` times, the window's end and some of the forecast among them.
    """
    start = max(0, min(times - MOST, window - MOST // 2))
    return slice(start, min(times, start + MOST))


def judged(window: int, cycles: int, burn_in: int) -> slice:
    """The times at which methods are compared by one number: the window's end, or a cycling record after its burn-in.

    Args:
        window: The number of assimilated states.
        cycles: The number of windows that they are made of.
        burn_in: The number of windows that are left out of averages over several.
    """
    return slice(burn_in * (window // cycles) if cycles > 1 else window - 1, window)


def time_place(dataset: xr.Dataset, time: float) -> int | None:
    """The index of a time in a dataset; None if it does not cover it."""
    found = np.flatnonzero(same_times(dataset["time"].values, np.array([time]))[:, 0])
    return int(found[0]) if len(found) else None


def same_times(times: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which times of two datasets are the same: files hold them in either precision, and records may be long.

    Args:
        times: Times, with shape ``(time,)``.
        others: Times, with shape ``(other,)``.

    Returns:
        Truth values with shape ``(time, other)``.
    """
    steps = np.diff(np.unique(np.concatenate((times, others)).round(9)))
    least = 0.1 * np.median(steps) if len(steps) else 0.0
    found: np.ndarray = np.abs(times[:, None] - others) <= max(least, 1e-9)
    return found


def methods_of(metrics: xr.Dataset) -> list[str]:
    """The names of the methods of an aggregated dataset, in order."""
    return [str(name) for name in metrics["method"].values]


def counted(score: xr.DataArray) -> dict[str, str]:
    """The name of each method, with the number of its cases where it is without some: averages are then over fewer.

    Args:
        score: A score, with dimensions ``(method, case, …)``, NaN where there is none.

    Returns:
        The labels, by name.
    """
    known = score.notnull().any([name for name in score.dims if name not in ("method", "case")]).sum("case")
    total = score.sizes["case"]
    return {
        str(name): f"{name} ({count} of {total} cases)" if 0 < count < total else str(name)
        for name, count in zip(score["method"].values, known.values.tolist(), strict=True)
    }


def need(dataset: xr.Dataset, names: tuple[str, ...], figure: str, remedy: str) -> None:
    """Raises if a dataset lacks variables that a figure draws.

    Args:
        dataset: The dataset.
        names: The variables.
        figure: The figure's name.
        remedy: The remedy, for the message.

    Raises:
        PosterityError: If one is missing.
    """
    missing = [name for name in names if name not in dataset]
    if missing:
        raise PosterityError(f"figure '{figure}': there is no {', '.join(repr(n) for n in missing)} to draw; {remedy}")
