"""Marginal posteriors of each method against the reference."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import PosterityError
from .drawing import style
from .drawing.density import bare, draw_density, draw_reference, draw_truth, extent, handles, hatch
from .drawing.panels import Sites, chosen_rows, name_row, row_names, rows, time_place

#: The most entries of the state that are drawn, at each of three moments.
ENTRIES = 3

#: Heights of a row, of the heads and of the foot; widths of the gaps between moments and of a character, in inches.
ROW, HEAD, FOOT, GAP, CHARACTER = 0.44, 0.36, 0.6, 0.16, 0.06


class Column(NamedTuple):
    """A column of the figure: the draws of each method, those of the reference first, and the truth, NaN if unknown."""

    title: str
    draws: Sequence[np.ndarray]
    truth: float


@style.styled
def reference(
    twin: xr.Dataset,
    posteriors: Sequence[xr.Dataset],
    reference: xr.Dataset,
    window: int,
    sites: Sites | None = None,
) -> Figure:
    """Draws marginal densities of chosen entries at the first, the middle and the last assimilated time.

    Each column has one scale; peaks of overconfident methods are cut. Times that a method does not cover are hatched.

    Args:
        twin: One case of a ``twin`` dataset, without the dimension ``case``.
        posteriors: The same case of the ``posterior`` dataset of each method, named by the attribute ``method``.
        reference: The same case of the reference.
        window: The number of assimilated states.
        sites: Places along the grid, of which the first three entries are drawn; three at equal distances if omitted.

    Returns:
        The figure: a row for each method, a column for each entry and time.

    Raises:
        PosterityError: If there is no such site, nothing to draw.
    """
    if not posteriors:
        raise PosterityError("figure 'reference': there is no posterior to draw; name at least one posterior file")
    chosen = chosen_rows(reference["state"], sites, "reference")[:ENTRIES]
    found = {"start": 0, "middle": window // 2, "window end": window - 1}
    found = {name: time for name, time in found.items() if name == "window end" or time < window - 1}
    looks = style.looks([str(posterior.attrs["method"]) for posterior in posteriors])
    height = min(style.HEIGHT, HEAD + FOOT + ROW * len(posteriors))
    figure = Figure(figsize=(style.WIDTH, height))
    left = 0.12 + CHARACTER * max(map(len, looks))
    width = (style.WIDTH - left - 0.06 - GAP * (len(found) - 1)) / len(found)
    for group, (moment, time) in enumerate(found.items()):
        start = left + group * (width + GAP)
        grid = figure.add_gridspec(
            len(posteriors),
            len(chosen),
            left=start / style.WIDTH,
            right=(start + width) / style.WIDTH,
            bottom=FOOT / height,
            top=1 - HEAD / height,
            wspace=0.08,
            hspace=0.12,
        )
        axes = grid.subplots(sharex="col", squeeze=False)
        when = float(twin["time"].values[time])
        figure.text((start + width / 2) / style.WIDTH, 1 - 0.12 / height, f"{moment}, t = {when:.3g}", ha="center")
        for panels, column in zip(axes.T, _columns(twin, [reference, *posteriors], time, chosen), strict=True):
            _column(panels, column, list(looks.values()))
        if not group:
            for panel, method in zip(axes[:, 0], looks, strict=True):
                name_row(panel, method)
    units = f"{style.quantity('state', reference['state'])}; t: {style.time_label(twin)}"
    figure.text(0.5, 0.27 / height, units, ha="center")
    entries = handles(truth="state" in twin)
    figure.legend(list(entries.values()), list(entries), loc="lower center", ncols=len(entries), borderaxespad=0.1)
    return figure


def _columns(twin: xr.Dataset, datasets: Sequence[xr.Dataset], time: int, chosen: Sequence[int]) -> list[Column]:
    """The columns of one time, without draws of the methods that do not cover it."""
    when = float(twin["time"].values[time])
    values = [marginals(dataset, when, chosen) for dataset in datasets]
    titles = row_names(datasets[0]["state"])
    truth = rows(twin["state"].isel(time=time)).values if "state" in twin else np.full(len(titles), np.nan)
    return [
        Column(titles[row], [draws[:, index] for draws in values], float(truth[row]))
        for index, row in enumerate(chosen)
    ]


def marginals(posterior: xr.Dataset, time: float, chosen: Sequence[int]) -> np.ndarray:
    """The draws of some entries of the state at one time.

    Args:
        posterior: One case of a ``posterior`` dataset.
        time: The time.
        chosen: The entries, as places along :func:`panels.rows`.

    Returns:
        Their values, with shape ``(sample, row)``; no samples if the posterior does not cover the time.
    """
    at = time_place(posterior, time)
    if at is None:
        return np.empty((0, len(chosen)))
    state = rows(posterior["state"].isel(time=at)).isel(row=list(chosen))
    found: np.ndarray = state.transpose("sample", "row").values
    return found


def _column(panels: Sequence[Axes], column: Column, looks: Sequence[style.Look]) -> None:
    """Draws one entry at one time, a panel for each method."""
    ends = extent(column.draws, column.truth)
    panels[0].set_title(column.title)
    for index, (panel, draws, look) in enumerate(zip(panels, column.draws[1:], looks, strict=True)):
        bare(panel, ends, below=index == len(panels) - 1)
        if not np.isfinite(draws).any():
            hatch(panel)
            continue
        draw_reference(panel, column.draws[0], ends)
        draw_density(panel, draws, ends, look.colour)
        draw_truth(panel.axvline, column.truth)
