"""Mean, one draw, error and standard deviation of each method, over time and site."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from ..errors import PosterityError
from .drawing import style
from .drawing.panels import (
    field,
    methods_of,
    middle_row,
    name_row,
    row_label,
    row_ticks,
    rows,
    stretch,
    time_place,
    window_line,
)


class Column(NamedTuple):
    """A column of the figure: its title, its fields ``(method, time, row)``, its colours."""

    title: str
    values: np.ndarray
    cmap: Colormap
    norm: Normalize


@style.styled
def hovmoller(twin: xr.Dataset, metrics: xr.Dataset, posteriors: Sequence[xr.Dataset], window: int) -> Figure:
    """Draws, for each method, the mean, one draw, the error of the mean and the standard deviation over time and site.

    One colour scale per column is shared by all methods; that of the error, mean − truth, is symmetric about
    zero. Scales end at the magnitudes of most methods (see :func:`style.limit`), with arrows if values lie beyond.
    Without a truth there is no error. Of long records the end of the window is shown (see :func:`panels.stretch`).
    Times that a method does not cover are hatched. In the plane the middle row of the grid is drawn.

    Args:
        twin: One case of a ``twin`` dataset, without the dimension ``case``.
        metrics: The metrics of all methods, of which this case is drawn.
        posteriors: The same case of the ``posterior`` dataset of each method, named by the attribute ``method``, of
            which the first draw is shown.
        window: The number of assimilated states.

    Returns:
        The figure.

    Raises:
        PosterityError: If the metrics lack the case.
    """
    twin, posteriors = middle_row(twin), [middle_row(posterior) for posterior in posteriors]
    one, shown = middle_row(_one_case(metrics, twin)), stretch(metrics.sizes["time"], window)
    one, window = one.isel(time=shown).load(), window - shown.start
    truth = None
    if "state" in twin:
        truth = rows(twin["state"].isel(time=shown)).transpose("time", "row").values
    columns, methods = _columns(one, _first_draws(posteriors, one), truth), methods_of(metrics)
    first = int(truth is not None)
    figure = style.canvas(0.9 + 0.7 * (first + len(methods)))
    axes = figure.subplots(first + len(methods), len(columns), sharex=True, sharey=True, squeeze=False)
    time = one["time"].values
    for panels, column in zip(axes.T, columns, strict=True):
        for panel, values in zip(panels[first:], column.values, strict=True):
            mesh = field(panel, time, values, column.cmap, column.norm)
            window_line(panel, time, window, cells=True)
        if len(time) == 1:
            panels[-1].set_xticks(time)
        panels[first].set_title(column.title)
        panels[-1].set_xlabel(style.time_label(one))
        label = style.quantity(column.title, one["mean"]).replace(" (", "\n(")
        figure.colorbar(
            mesh,
            ax=list(panels),
            location="bottom",
            aspect=30,
            pad=0.02,
            label=label,
            extend=style.extend(column.values, column.norm),
        )
    if truth is not None:
        _truth_row(axes[0], time, truth, columns[0], window)
    for panel, name in zip(axes[:, 0], ["truth", *methods][1 - first :], strict=True):
        name_row(panel, name)
        row_ticks(panel, one["mean"])
    figure.supylabel(row_label(one["mean"]), fontsize=7)
    return figure


def _truth_row(panels: np.ndarray, time: np.ndarray, truth: np.ndarray, mean: Column, window: int) -> None:
    """Draws the truth above the means, in their colours."""
    field(panels[0], time, truth, mean.cmap, mean.norm)
    window_line(panels[0], time, window, cells=True)
    for panel in panels[1:]:
        panel.set_axis_off()


def _first_draws(posteriors: Sequence[xr.Dataset], metrics: xr.Dataset) -> np.ndarray:
    """One draw of each method of the metrics, ``(method, time, row)``; NaN at times that it does not cover."""
    found = np.full_like(rows(metrics["mean"]).transpose("method", "time", "row").values, np.nan)
    places = {method: place for place, method in enumerate(methods_of(metrics))}
    for posterior in posteriors:
        draw = rows(posterior["state"].isel(sample=0)).transpose("time", "row")
        for values, time in zip(draw.values, posterior["time"].values, strict=True):
            if (at := time_place(metrics, time)) is not None and posterior.attrs["method"] in places:
                found[places[posterior.attrs["method"]], at] = values
    return found


def _columns(metrics: xr.Dataset, draws: np.ndarray, truth: np.ndarray | None) -> list[Column]:
    """The columns: mean, one draw, error if there is a truth, standard deviation."""
    mean, std = (rows(metrics[name]).transpose("method", "time", "row").values for name in ("mean", "std"))
    states = mean if truth is None else truth
    scale = Normalize(*np.nanquantile(states, (0.01, 0.99))) if np.isfinite(states).any() else Normalize(0, 1)
    columns = [Column("mean", mean, style.STATE, scale), Column("one draw", draws, style.STATE, scale)]
    if truth is not None:
        error = mean - truth
        columns.append(Column("mean − truth", error, style.SIGNED, style.symmetric(error)))
    columns.append(Column("standard deviation", std, style.POSITIVE, Normalize(0, style.limit(std))))
    return columns


def _one_case(metrics: xr.Dataset, twin: xr.Dataset) -> xr.Dataset:
    """The metrics of the twin's case."""
    case = twin["case"].item()
    try:
        return metrics[["mean", "std"]].sel(case=case)
    except (KeyError, IndexError):
        raise PosterityError(
            f"figure 'hovmoller': the metrics have no case {case}; evaluate it, or choose another 'figures.case'"
        ) from None
