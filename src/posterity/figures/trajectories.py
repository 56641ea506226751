"""Sampled trajectories of chosen sites, for each method."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..errors import PosterityError
from .drawing import style
from .drawing.panels import chosen_rows, name_row, row_names, rows, same_times, stretch, window_line

#: The number of draws that are shown as lines.
SHOWN = 12


@style.styled
def trajectories(
    twin: xr.Dataset,
    posteriors: Sequence[xr.Dataset],
    window: int,
    observes_state: bool,
    sites: Sequence[int] | None = None,
) -> Figure:
    """Draws trajectories of the posterior at chosen sites: a row for each method, a column for each site.

    Each panel shows some draws, the median and the band from the 5th to the 95th percentile, with the truth. Of long
    records the end of the window is shown (see :func:`panels.stretch`).

    Args:
        twin: One case of a ``twin`` dataset, without the dimension ``case``.
        posteriors: The same case of the ``posterior`` dataset of each method, named by the attribute ``method``.
        window: The number of assimilated states.
        observes_state: Whether observations are of the state itself. If not, they are drawn in a row of their
            own, in observation space, if there is one for each entry of the state, and left out otherwise.
        sites: Places along the grid; three at equal distances if omitted. Without a grid all channels are drawn.

    Returns:
        The figure.

    Raises:
        PosterityError: If there is no such site, nothing to draw, or the grid has two dimensions.
    """
    if not posteriors:
        raise PosterityError("figure 'trajectories': there is no posterior to draw; name at least one posterior file")
    chosen = chosen_rows(posteriors[0]["state"], sites, "trajectories")
    shown = stretch(twin.sizes["time"], window)
    twin, window = twin.isel(time=shown), window - shown.start
    posteriors = [_during(posterior, twin) for posterior in posteriors]
    observed = _observed(twin, posteriors[0]["state"], chosen)
    above = int(observed is not None and not observes_state)
    count = above + len(posteriors)
    figure = style.canvas(0.8 + 0.85 * count)
    axes = figure.subplots(count, len(chosen), sharex=True, squeeze=False)
    truth = rows(twin["state"], "trajectories").transpose("time", "row").values[:, chosen] if "state" in twin else None
    looks = style.looks([str(posterior.attrs["method"]) for posterior in posteriors])
    for panels, posterior, (method, look) in zip(axes[above:], posteriors, looks.items(), strict=True):
        stacked = rows(posterior["state"], "trajectories").isel(row=chosen)
        draws = stacked.transpose("row", "sample", "time").values
        for site, panel in enumerate(panels):
            _draws(panel, posterior["time"].values, draws[site], look.colour)
            if truth is not None:
                # A truth of one time is no line.
                marker = "_" if len(truth) == 1 else None
                panel.plot(
                    twin["time"].values,
                    truth[:, site],
                    color=style.TRUTH,
                    marker=marker,
                    markersize=12,
                    linewidth=0.8,
                    zorder=4,
                )
            if observed is not None and observes_state:
                _marks(panel, twin["time"].values, *observed[:, :, site])
            window_line(panel, twin["time"].values, window)
            panel.sharey(axes[above, site])
        name_row(panels[0], method)
    if observed is not None and above:
        for site, panel in enumerate(axes[0]):
            _marks(panel, twin["time"].values, *observed[:, :, site])
            window_line(panel, twin["time"].values, window)
        name_row(
            axes[0, 0], style.quantity("observations\nof another\nquantity", twin["observation"]).replace(" (", "\n(")
        )
    for panel, row in zip(axes[0], chosen, strict=True):
        panel.set_title(row_names(posteriors[0]["state"])[row])
    figure.supylabel(style.quantity("state", posteriors[0]["state"]), fontsize=7)
    for panel in axes[-1]:
        panel.set_xlabel(style.time_label(twin))
    _legend(figure, truth is not None, observed is not None, window < twin.sizes["time"])
    return figure


def _during(posterior: xr.Dataset, twin: xr.Dataset) -> xr.Dataset:
    """The draws at those times of the twin that they cover."""
    near = same_times(posterior["time"].values, twin["time"].values).any(axis=1)
    return posterior.isel(time=near)


def _observed(twin: xr.Dataset, state: xr.DataArray, chosen: Sequence[int]) -> np.ndarray | None:
    """Observations and their standard deviations at the rows, ``(2, time, row)``; None without a match."""
    values = [rows(twin[name], "trajectories").transpose("time", "row") for name in ("observation", "observation_std")]
    if values[0].sizes["row"] != state.sizes["channel"] * state.sizes.get("x", 1):
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
