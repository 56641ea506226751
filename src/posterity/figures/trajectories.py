"""Sampled trajectories of chosen sites, for each method."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..errors import PosterityError
from .drawing import style
from .drawing.panels import Sites, chosen_rows, name_row, row_names, rows, same_times, stretch, window_line

#: The number of draws that are shown as lines.
SHOWN = 12

#: The median width of a band, over the range of the draws, below which it is drawn without what moves them all.
VISIBLE = 0.15

#: The most columns below each of which the label of the time axis has room.
ACROSS = 3

#: The part of a row above the errors of most methods.
MARGIN = 1.2


class Part(NamedTuple):
    """The draws of a method at the chosen rows, and what is taken from them, if their band is not seen otherwise.

    Args:
        name: The name of the method, and what is taken from its draws.
        time: Their times, with shape ``(time,)``.
        draws: The draws, or their differences, with shape ``(row, sample, time)``.
        base: What is taken from them, with shape ``(row, time)``; None if nothing is.
    """

    name: str
    time: np.ndarray
    draws: np.ndarray
    base: np.ndarray | None


@style.styled
def trajectories(
    twin: xr.Dataset,
    posteriors: Sequence[xr.Dataset],
    window: int,
    observes_state: bool,
    sites: Sites | None = None,
) -> Figure:
    """Draws trajectories of the posterior at chosen sites: a row for each method, a column for each site.

    Each panel shows some draws, the median and the band from the 5th to the 95th percentile, with the truth. Where a
    method's band is too narrow to be seen beside the motion of the state, its errors are drawn if there is a truth, the
    draws less the truth, which then has a row of its own; their scale is that of most methods.
    Of long records the end of the window is shown (see :func:`panels.stretch`).

    Args:
        twin: One case of a ``twin`` dataset, without the dimension ``case``.
        posteriors: The same case of the ``posterior`` dataset of each method, named by the attribute ``method``.
        window: The number of assimilated states.
        observes_state: Whether observations are of the state itself. If not, they are drawn in a row of their
            own, in observation space, if there is one for each entry of the state, and left out otherwise.
        sites: Places along the grid, pairs ``(y, x)`` in the plane; three at equal distances if omitted.
            Without a grid all channels are drawn.

    Returns:
        The figure.

    Raises:
        PosterityError: If there is no such site, nothing to draw.
    """
    if not posteriors:
        raise PosterityError("figure 'trajectories': there is no posterior to draw; name at least one posterior file")
    if sites is None and "state" not in twin:
        sites = _stations(twin, posteriors[0]["state"])
    chosen = chosen_rows(posteriors[0]["state"], sites, "trajectories")
    shown = stretch(twin.sizes["time"], window)
    twin, window = twin.isel(time=shown), window - shown.start
    posteriors = [_during(posterior, twin) for posterior in posteriors]
    observed = _observed(twin, posteriors[0]["state"], chosen)
    truth = rows(twin["state"]).transpose("time", "row").values[:, chosen] if "state" in twin else None
    parts = [_part(posterior, twin["time"].values, truth, chosen) for posterior in posteriors]
    above = int(observed is not None and not observes_state)
    first = above + int(truth is not None and any(part.base is not None for part in parts))
    figure = style.canvas(0.8 + 0.85 * (first + len(parts)))
    axes = figure.subplots(first + len(parts), len(chosen), sharex=True, squeeze=False)
    looks = style.looks([str(posterior.attrs["method"]) for posterior in posteriors])
    for panels, part, look in zip(axes[first:], parts, looks.values(), strict=True):
        for site, panel in enumerate(panels):
            _draws(panel, part.time, part.draws[site], look.colour)
            if part.base is not None:
                own = [other.draws[site] for other in parts if other.base is not None]
                panel.set_ylim(*(MARGIN * style.limit(own) * np.array([-1, 1])))
        name_row(panels[0], part.name)
    states = [
        *axes[above:first],
        *(panels for panels, part in zip(axes[first:], parts, strict=True) if part.base is None),
    ]
    for panels in states:
        for site, panel in enumerate(panels):
            if truth is not None:
                _truth(panel, twin["time"].values, truth[:, site])
            if observed is not None and observes_state:
                _marks(panel, twin["time"].values, *observed[:, :, site])
            panel.sharey(states[0][site])
    if first > above:
        name_row(axes[above, 0], "truth")
    for panels, part in zip(axes[first:], parts, strict=True):
        if part.base is not None and truth is not None:
            for panel in panels:
                _truth(panel, twin["time"].values, np.zeros(twin.sizes["time"]))
    for panel in axes.flat:
        window_line(panel, twin["time"].values, window)
    if observed is not None and above:
        for site, panel in enumerate(axes[0]):
            _marks(panel, twin["time"].values, *observed[:, :, site])
        name_row(
            axes[0, 0], style.quantity("observations\nof another\nquantity", twin["observation"]).replace(" (", "\n(")
        )
    for panel, row in zip(axes[0], chosen, strict=True):
        panel.set_title(row_names(posteriors[0]["state"])[row])
    figure.supylabel(style.quantity("state", posteriors[0]["state"]), fontsize=7)
    for panel in axes[-1] if len(chosen) <= ACROSS else axes[-1, len(chosen) // 2 :][:1]:
        panel.set_xlabel(style.time_label(twin))
    _legend(figure, truth is not None, observed is not None, window < twin.sizes["time"])
    return figure


def _during(posterior: xr.Dataset, twin: xr.Dataset) -> xr.Dataset:
    """The draws at those times of the twin that they cover."""
    near = same_times(posterior["time"].values, twin["time"].values).any(axis=1)
    return posterior.isel(time=near)


def _part(posterior: xr.Dataset, times: np.ndarray, truth: np.ndarray | None, chosen: Sequence[int]) -> Part:
    """The draws of a method, or their errors if their band would not be seen."""
    name, time = str(posterior.attrs["method"]), posterior["time"].values
    draws = rows(posterior["state"]).isel(row=list(chosen)).transpose("row", "sample", "time").values
    low, median, high = np.quantile(draws, (0.05, 0.5, 0.95), axis=1)
    # Without a truth there is no error to show, and the states themselves are what one asks for.
    if truth is None:
        return Part(name, time, draws, None)
    motion = np.ptp(np.hstack([median, truth.T]), axis=1, keepdims=True)
    if not (high - low < VISIBLE * motion).mean() > 0.5:
        return Part(name, time, draws, None)
    base = truth[np.abs(time[:, None] - times).argmin(axis=1)].T
    return Part(f"{name}\n− truth", time, draws - base[:, None], base)


def _truth(axes: Axes, time: np.ndarray, values: np.ndarray) -> None:
    """Draws the truth; of one time it is no line."""
    marker = "_" if len(time) == 1 else None
    axes.plot(time, values, color=style.TRUTH, marker=marker, markersize=12, linewidth=0.8, zorder=4)


def _stations(twin: xr.Dataset, state: xr.DataArray) -> Sites | None:
    """Three of the sites of a ring at which there are observations, where these are all that is known."""
    if "y" in state.dims or twin.sizes.get("obs_x") != state.sizes.get("x"):
        return None
    known = twin["observation"].notnull()
    places = np.flatnonzero(known.any([name for name in known.dims if name != "obs_x"]))
    return sorted({int(places[len(places) * k // 3]) for k in range(3)}) if len(places) else None


def _observed(twin: xr.Dataset, state: xr.DataArray, chosen: Sequence[int]) -> np.ndarray | None:
    """Observations and their standard deviations at the rows, ``(2, time, row)``; None without a match."""
    values = [rows(twin[name]).transpose("time", "row") for name in ("observation", "observation_std")]
    if values[0].sizes["row"] != prod(state.sizes[name] for name in ("channel", "y", "x") if name in state.dims):
        return None
    return np.stack([value.isel(row=list(chosen)).values for value in values])


def _draws(axes: Axes, time: np.ndarray, values: np.ndarray, colour: str) -> None:
    """Draws some of the trajectories ``(sample, time)``, and their band and median."""
    low, median, high = np.quantile(values, (0.05, 0.5, 0.95), axis=0)
    axes.fill_between(time, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(time, values[:SHOWN].T, color=colour, alpha=0.4, linewidth=0.35)
    axes.plot(time, median, color=colour)
    if len(time) == 1:
        axes.errorbar(time, median, (median - low, high - median), fmt="o", markersize=3, color=colour)
    axes.locator_params(axis="y", nbins=3)
    axes.margins(x=0.02)


def _marks(axes: Axes, time: np.ndarray, y: np.ndarray, std: np.ndarray) -> None:
    """Draws observations with bars of one standard deviation."""
    axes.errorbar(time, y, std, fmt="o", markersize=1.8, color=style.OBSERVATION, elinewidth=0.4, zorder=3)


def _legend(figure: Figure, truth: bool, observed: bool, forecast: bool) -> None:
    """One legend for all panels, below them; methods are told apart by their rows."""
    grey = "0.5"
    entries = {
        "truth": Line2D([], [], color=style.TRUTH, linewidth=0.8) if truth else None,
        "observation ± one std": Line2D([], [], color=style.OBSERVATION, marker="o", markersize=1.8, linewidth=0.4)
        if observed
        else None,
        "median": Line2D([], [], color=grey),
        "draws": Line2D([], [], color=grey, alpha=0.6, linewidth=0.35),
        "5–95 %": Patch(color=grey, alpha=0.25, linewidth=0),
        "end of the window": Line2D([], [], color=style.WINDOW_END, linestyle="--", linewidth=0.9)
        if forecast
        else None,
    }
    shown = {label: handle for label, handle in entries.items() if handle is not None}
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=len(shown))
