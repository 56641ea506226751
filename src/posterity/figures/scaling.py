"""Scores and costs of all methods against the size of the problem, or the length of the record."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from ..errors import PosterityError
from ..metrics import COVERED
from .drawing import style
from .drawing.panels import methods_of

#: Panels beside each other where there is one window length, the height of a row, and columns of the legend.
ACROSS, HEIGHT, ENTRIES = 3, 1.4, 5

#: Line styles of the window lengths, the shortest first.
LINES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")

#: The fraction of the distance between variants over which methods are spread.
SPREAD = 0.6


class Ordinate(NamedTuple):
    """The vertical axis of a panel.

    Args:
        name: The variable that it shows.
        label: What it is called.
        units: Its units; empty for those of the variable.
        logarithmic: Whether it is a logarithmic one.
        ideal: The ideal value.
    """

    name: str
    label: str
    units: str = ""
    logarithmic: bool = False
    ideal: float = np.nan

    def title(self, variable: xr.DataArray) -> str:
        """The label with its units."""
        return f"{self.label} ({self.units})" if self.units else style.quantity(self.label, variable)


ORDINATES = (
    Ordinate("log_score", "−log q / N"),
    Ordinate("auc", "AUC", "fraction", ideal=0.5),
    Ordinate("crps", "CRPS"),
    Ordinate("sampling_seconds", "1000 draws", logarithmic=True),
    Ordinate("training_seconds", "training", logarithmic=True),
    Ordinate("parameters", "weights", "10³", logarithmic=True),
)


class Column(NamedTuple):
    """A column of variants: their indices, their positions on the axis, and the style of the line that joins them.

    Without a line style they are not a series, and stand beside each other by name.
    """

    title: str
    places: np.ndarray
    x: np.ndarray
    line: Literal["-", "--", ":", "-."] | None
    label: str = "entries N of the state (number)"


@style.styled
def scaling(scaling: xr.Dataset) -> Figure:
    r"""Draws scores at the window's end and costs against the number of entries of a state, a line for each method.

    Of variants that differ in the length of the window alone, they are drawn against that, as the calibration of
    unknown parameters is wanted: how it holds as the record grows.

    Lines are means over the trainings of a method, and bands reach from the lowest to the highest of these. The log
    score is that of standardised states, over the number :math:`N` of entries: 1.42 for a standard normal. Published
    scores are crosses. Variants that share both size and window length stand beside each other under their names.

    Args:
        scaling: A ``scaling`` dataset, with dimensions ``(variant, method, seed)``, and ``size`` and ``window`` of the
            variants; with ``parameter_coverage`` if parameters are unknown.

    Returns:
        The figure: a row for each score and cost that there is, a column for each window length.

    Raises:
        PosterityError: If there is no score or cost.
    """
    coverages = _coverages(scaling)
    scaling = scaling.assign(coverages)
    ordinates = (*ORDINATES, *(Ordinate(name, name, "fraction", ideal=COVERED) for name in coverages))
    shown = [ordinate for ordinate in ordinates if bool(scaling[ordinate.name].notnull().any())]
    if not shown:
        raise PosterityError("figure 'scaling': there is nothing to draw; evaluate the methods again")
    titles = {ordinate.name: ordinate.title(scaling[ordinate.name]) for ordinate in shown}
    scaling = scaling.assign(
        log_score=scaling["log_score"] / scaling["size"],
        published_log_score=scaling["published_log_score"] / scaling["size"],
        parameters=scaling["parameters"] / 1000,
    )
    columns, looks = _columns(scaling), style.looks(methods_of(scaling))
    cells = [(ordinate, column) for ordinate in shown for column in columns]
    across = len(columns) if len(columns) > 1 else min(ACROSS, len(cells))
    entries = _entries(scaling, looks)
    down, lines = -(-len(cells) // across), -(-len(entries) // ENTRIES)
    figure = style.canvas(0.45 + HEIGHT * down + 0.16 * lines)
    axes = figure.subplots(down, across, squeeze=False)
    for index, (panel, (ordinate, column)) in enumerate(zip(axes.flat, cells, strict=False)):
        _panel(panel, scaling.isel(variant=column.places), ordinate, column, list(looks.values()))
        if index % len(columns) == 0:
            panel.set_ylabel(titles[ordinate.name])
        if index < len(columns) > 1:
            panel.set_title(column.title)
        _abscissa(panel, scaling["variant"].values, column, lowest=index + across >= len(cells))
    for panel in axes.flat[len(cells) :]:
        panel.set_axis_off()
    figure.align_ylabels(axes[:, 0])
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=min(len(entries), ENTRIES),
        title=columns[0].title or None if len(columns) == 1 else None,
    )
    return figure


def _coverages(scaling: xr.Dataset) -> dict[str, xr.DataArray]:
    """The coverage of each parameter, by what panels call it; none if all are known."""
    if "parameter_coverage" not in scaling:
        return {}
    coverage = scaling["parameter_coverage"]
    return {
        f"{COVERED:.0%} coverage of {name}": coverage.sel(parameter=name, drop=True)
        for name in coverage["parameter"].values
    }


def _columns(scaling: xr.Dataset) -> list[Column]:
    """The variants of each window length, by size, or of one size, by window; in a row if neither tells them apart."""
    size, window = scaling["size"].values, scaling["window"].values
    if len(set(zip(size, window, strict=True))) < len(size):
        return [Column("", np.arange(len(size)), np.arange(len(size)), None)]
    if len(set(size)) == 1:
        places = np.argsort(window)
        return [Column("", places, window[places], LINES[0], "assimilated states T (number)")]
    found = []
    for index, length in enumerate(sorted(set(window))):
        places = np.flatnonzero(window == length)
        places = places[np.argsort(size[places])]
        found.append(Column(f"window of {length}", places, size[places], LINES[index % len(LINES)]))
    return found


def _entries(scaling: xr.Dataset, looks: Mapping[str, style.Look]) -> dict[str, Line2D]:
    """The entries of the legend: methods, and published values if there are any."""
    entries = {
        name: Line2D([], [], color=look.colour, marker=look.marker, markerfacecolor=look.face, linestyle="")
        for name, look in looks.items()
    }
    if scaling["published_log_score"].notnull().any():
        entries["published"] = Line2D([], [], color="0.3", marker="x", markersize=5, linestyle="")
    return entries


def _panel(axes: Axes, scaling: xr.Dataset, ordinate: Ordinate, column: Column, looks: Sequence[style.Look]) -> None:
    """Draws one quantity of all methods, with the bands of their trainings."""
    values = scaling[ordinate.name].transpose("method", "variant", "seed").values
    published = scaling["published_log_score"].transpose("method", "variant").values
    for index, (own, look) in enumerate(zip(values, looks, strict=True)):
        x = column.x if column.line else column.x + SPREAD * ((index + 0.5) / len(looks) - 0.5)
        if ordinate.name == "log_score":
            axes.plot(x, published[index], color=look.colour, marker="x", markersize=6, linestyle="")
        known = np.isfinite(own).any(axis=1)
        x, own = x[known], own[known]
        if not x.size:
            continue
        low, middle, high = np.nanmin(own, axis=1), np.nanmean(own, axis=1), np.nanmax(own, axis=1)
        line = axes.plot(x, middle, color=look.colour, linestyle=column.line or "", linewidth=0.9)[0]
        line.set(marker=look.marker, markersize=3, markerfacecolor=look.face)
        if column.line:
            axes.fill_between(x, low, high, color=look.colour, alpha=0.25, linewidth=0)
        else:
            axes.vlines(x, low, high, color=look.colour, linewidth=2, alpha=0.4)
    if np.isfinite(ordinate.ideal):
        axes.axhline(ordinate.ideal, color="0.6", linewidth=0.6, linestyle=":", zorder=0)
    if ordinate.logarithmic:
        style.logarithmic(axes, "y")


def _abscissa(axes: Axes, variants: np.ndarray, column: Column, lowest: bool) -> None:
    """Puts ticks at the sizes, on a logarithmic axis; or at the variants, by name."""
    if column.line is None:
        axes.set_xlim(-0.5, len(variants) - 0.5)
        axes.set_xticks(column.x, variants, rotation=30, ha="right")
    else:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(column.x, [f"{size:g}" for size in column.x])
        if lowest:
            axes.set_xlabel(column.label)
    axes.tick_params(labelbottom=lowest)
