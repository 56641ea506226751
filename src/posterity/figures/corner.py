"""Corner plots: chosen coordinates in pairs, each method against the reference or the weighted prior."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from corner import hist2d
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from ..errors import PosterityError
from .drawing import style
from .drawing.density import bare, draw_density, draw_reference, draw_truth, equal, extent, handles, scale, ticks
from .drawing.panels import Sites, chosen_rows, row_names, rows
from .reference import marginals

#: Up to FEW methods are drawn with COORDINATES coordinates, parameters included; more methods with FEWER.
FEW, COORDINATES, FEWER = 4, 5, 3

#: Probabilities inside the contours, those within one and two standard deviations of a Gaussian in the plane.
LEVELS = (0.393, 0.865)

#: Fewer draws are shown as points: their contours would be islands.
POINTS = 100

#: Heights of the foot and of a method's name, and the width left of the panels, in inches.
FOOT, NAME, LEFT = 0.62, 0.24, 0.5


class Coordinates(NamedTuple):
    """Coordinates: their names, their intervals, and the true values, NaN where there are none."""

    names: Sequence[str]
    ends: Sequence[tuple[float, float]]
    truth: np.ndarray


@style.styled
def corner(
    twin: xr.Dataset,
    posteriors: Sequence[xr.Dataset],
    standard: xr.Dataset,
    window: int,
    sites: Sites | None = None,
) -> Figure:
    """Draws, for each method, pairs of coordinates against a standard: entries at the window's end, and parameters.

    The standard is the reference or, where there is none, the weighted prior: the draws of another method, whose
    effective sample size the legend gives.

    Contours hold 39 % and 86 % of the draws, one and two standard deviations of a Gaussian; methods with few draws
    are shown by points. Of up to four methods five coordinates are drawn, of more methods three; at least one is an
    entry of the state.

    Args:
        twin: One case of a ``twin`` dataset, without the dimension ``case``.
        posteriors: The same case of the ``posterior`` dataset of each method, named by the attribute ``method``.
        standard: The same case of the draws that all methods are compared with, named by the attribute ``method``;
            ``info_ess`` is their effective number, if known. A method of that name is not drawn.
        window: The number of assimilated states.
        sites: Places along the grid, pairs ``(y, x)`` in the plane; three at equal distances if omitted.

    Returns:
        The figure: a corner for each method.

    Raises:
        PosterityError: If there is no such site, nothing to draw.
    """
    looks = style.looks([str(posterior.attrs["method"]) for posterior in posteriors])
    posteriors = [draws for draws in posteriors if draws.attrs["method"] != standard.attrs["method"]]
    if not posteriors:
        raise PosterityError("figure 'corner': there is no posterior to draw; name at least one posterior file")
    most = COORDINATES if len(posteriors) <= FEW else FEWER
    parameters = _parameters(standard)[: most - 1]
    chosen = chosen_rows(standard["state"], sites, "corner")[: most - len(parameters)]
    when = float(twin["time"].values[window - 1])
    draws = [_draws(dataset, when, chosen, parameters) for dataset in (standard, *posteriors)]
    truth = _truth(twin, window - 1, chosen, parameters)
    names = [*(row_names(standard["state"])[row] for row in chosen), *parameters]
    ends = [extent([values[:, i] for values in draws], truth[i]) for i in range(len(names))]
    across = next((n for n in (1, 2, 4) if len(posteriors) <= n * n), 5)
    down = -(-len(posteriors) // across)
    side = min((style.WIDTH - LEFT) / across, 3.4)
    height = min(style.HEIGHT, down * (side + NAME) + FOOT)
    figure = Figure(figsize=(style.WIDTH, height))
    margin = (style.WIDTH - LEFT - across * side) / 2
    outer = figure.add_gridspec(
        down,
        across,
        left=(LEFT + margin) / style.WIDTH,
        right=1 - (0.05 + margin) / style.WIDTH,
        bottom=FOOT / height,
        top=1 - 0.05 / height,
        wspace=0.14,
        hspace=0.14,
    )
    methods = [str(posterior.attrs["method"]) for posterior in posteriors]
    coordinates = Coordinates(names, ends, truth)
    for index, (method, values) in enumerate(zip(methods, draws[1:], strict=True)):
        lowest = index + across >= len(posteriors)
        _corner(
            figure,
            outer[index],
            coordinates,
            (draws[0], values),
            looks[method].colour,
            method,
            (lowest, not index % across),
        )
    entries = handles(bool(np.isfinite(truth).any()), _name(standard))
    figure.legend(list(entries.values()), list(entries), loc="lower center", ncols=len(entries), borderaxespad=0.1)
    units = style.quantity("states", standard["state"])
    figure.text(0.5, 0.2 / height, f"{units} at the window's end", ha="center")
    return figure


def _name(standard: xr.Dataset) -> str:
    """The label of the standard in the legend."""
    name = str(standard.attrs["method"])
    return f"{name}, effective size {float(standard['info_ess']):.3g}" if "info_ess" in standard else name


def _parameters(posterior: xr.Dataset) -> list[str]:
    """The names of the unknown parameters."""
    return [str(name) for name in posterior["parameter"].values] if "theta" in posterior else []


def _draws(posterior: xr.Dataset, time: float, chosen: Sequence[int], parameters: Sequence[str]) -> np.ndarray:
    """The draws of all coordinates, ``(sample, coordinate)``; NaN for those that the posterior does not have."""
    state = marginals(posterior, time, chosen)
    samples = len(state) or posterior.sizes["sample"]
    found = np.full((samples, len(chosen) + len(parameters)), np.nan)
    if len(state):
        found[:, : len(chosen)] = state
    for index, name in enumerate(parameters, start=len(chosen)):
        if name in _parameters(posterior):
            found[:, index] = posterior["theta"].sel(parameter=name).values
    return found


def _truth(twin: xr.Dataset, time: int, chosen: Sequence[int], parameters: Sequence[str]) -> np.ndarray:
    """The true coordinates; NaN for those that are not known."""
    found = np.full(len(chosen) + len(parameters), np.nan)
    if "state" in twin:
        found[: len(chosen)] = rows(twin["state"].isel(time=time)).values[list(chosen)]
    if "theta" in twin:
        found[len(chosen) :] = twin["theta"].sel(parameter=list(parameters)).values
    return found


def _corner(
    figure: Figure,
    place: SubplotSpec,
    coordinates: Coordinates,
    draws: tuple[np.ndarray, np.ndarray],
    colour: str,
    method: str,
    labelled: tuple[bool, bool],
) -> None:
    """Draws the corner of one method: densities on the diagonal, pairs below it."""
    count = len(coordinates.names)
    axes = place.subgridspec(count, count, wspace=0.08, hspace=0.08).subplots(squeeze=False)
    for row in range(count):
        for column in range(count):
            panel = axes[row, column]
            if column > row:
                panel.set_axis_off()
                continue
            below, beside = labelled[0] and row == count - 1, labelled[1] and column == 0
            if column == row:
                _diagonal(panel, coordinates, row, draws, colour, below)
            else:
                _pair(panel, coordinates, (column, row), draws, colour)
                panel.tick_params(labelbottom=below, labelleft=beside)
            if below:
                panel.set_xlabel(coordinates.names[column], labelpad=1)
            if beside and row:
                panel.set_ylabel(coordinates.names[row], labelpad=1)
    # The upper right half of a corner is empty: the name has room there.
    axes[0, count - 1].text(1, 0.95, method, transform=axes[0, count - 1].transAxes, ha="right", va="top", color=colour)


def _diagonal(
    axes: Axes,
    coordinates: Coordinates,
    index: int,
    draws: tuple[np.ndarray, np.ndarray],
    colour: str,
    below: bool,
) -> None:
    """Draws the densities of one coordinate."""
    ends = coordinates.ends[index]
    bare(axes, ends, below)
    draw_reference(axes, draws[0][:, index], ends)
    draw_density(axes, draws[1][:, index], ends, colour)
    draw_truth(axes.axvline, coordinates.truth[index])


def _pair(
    axes: Axes, coordinates: Coordinates, pair: tuple[int, int], draws: tuple[np.ndarray, np.ndarray], colour: str
) -> None:
    """Draws the contours of two coordinates: those of the standard filled, those of the method as lines."""
    ends = [coordinates.ends[index] for index in pair]
    for values, fill in zip(draws, (style.REFERENCE_FILL, None), strict=True):
        both = values[:, list(pair)]
        both = both[np.isfinite(both).all(axis=1)]
        # hist2d counts the draws inside the panel only; levels are parts of all draws.
        inside = ((both > [low for low, _ in ends]) & (both < [high for _, high in ends])).all(axis=1).sum()
        levels = [level * len(both) / inside for level in LEVELS if level * len(both) < 0.98 * inside]
        if inside < POINTS or not levels or any(equal(column, end) for column, end in zip(both.T, ends, strict=True)):
            axes.plot(*both.T, ".", markersize=1.5, color=fill or colour)
            continue
        hist2d(
            *both.T,
            ax=axes,
            range=ends,
            bins=[_bins(column, end) for column, end in zip(both.T, ends, strict=True)],
            smooth=2.0,
            levels=levels,
            color=fill or colour,
            plot_datapoints=False,
            plot_density=False,
            fill_contours=fill is not None,
            no_fill_contours=True,
            contourf_kwargs={"colors": ["none", "0.86", "0.68"][: len(levels) + 1]} if fill else None,
            contour_kwargs={"linewidths": 0.4 if fill else 0.8},
        )
    axes.set(xlim=ends[0], ylim=ends[1])
    for line, value in zip((axes.axvline, axes.axhline), coordinates.truth[list(pair)], strict=True):
        draw_truth(line, value)
    axes.set_xticks(*ticks(ends[0]))
    axes.set_yticks(*ticks(ends[1], upright=True))
    axes.tick_params(length=1.5, pad=1.5)


def _bins(draws: np.ndarray, ends: tuple[float, float]) -> int:
    """The number of cells, each a quarter of a standard deviation wide, over two of which densities are smoothed."""
    return int(np.clip(4 * (ends[1] - ends[0]) / scale(draws), 20, 100))
