"""The table of all methods, as a figure."""

import json
from collections.abc import Sequence
from itertools import groupby
from math import floor, inf, isfinite, isnan, log10
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..metrics import COVERED, judged_moment
from ..metrics.score import Head, Quantity
from ..metrics.table import headed
from .drawing import style
from .drawing.panels import methods_of, need

#: The names of the spaces of classifiers.
SPACES = {"state": "state", "observation": "obs."}

#: The mark of a missing number.
NONE = "–"

#: The most digits behind the point.
DIGITS = 4

#: Height of a line and mean width of a character, in inches.
LINE, CHARACTER = 0.145, 0.06

#: Lines above the first entry of a block, for its heads, and from the last one to the next block.
HEADS, FOOT = 4.1, 1.0

#: The gap to the left of a column, in characters.
GAP = 2.0


class Column(NamedTuple):
    """A column: the head that it shares with its neighbours, its own (in up to two lines), its entries, the best."""

    group: str
    head: str
    entries: Sequence[str]
    best: Sequence[bool] = ()

    @property
    def width(self) -> float:
        """Its width in characters, the gap to its left included."""
        return GAP + max(map(len, (*self.head.split("\n"), *self.entries)))


@style.styled
def table(summary: xr.Dataset) -> Figure:
    """Draws the table of all methods: error, calibration and cost of each.

    The best of each column, and what its error does not tell from it, is bold. Columns without a single number are left
    out. Without a truth the spread takes the place of the error. Columns that do not fit beside each other stand in a
    second block below, and methods that failed, as the attribute ``failed`` says, in the note.

    Args:
        summary: The summary of the metrics, by method and moment.

    Returns:
        The figure.

    Raises:
        PosterityError: If the summary has no spread.
    """
    need(summary, ("spread",), "table", "aggregate the metrics again")
    columns = [
        *_cases(summary),
        *_error(summary),
        *(column for pair in headed() for column in _columns(summary, *pair)),
    ]
    shown = [column for column in columns if set(column.entries) != {NONE}]
    return _draw(
        [Column("", "method", methods_of(summary)), *shown], list(json.loads(summary.attrs.get("failed", "{}")))
    )


def _cases(summary: xr.Dataset) -> list[Column]:
    """The numbers of cases, if methods differ in them."""
    counts = summary["cases"].values.tolist()
    return [Column("cases", "(number)", list(map(str, counts)))] if len(set(counts)) > 1 else []


def _error(summary: xr.Dataset) -> list[Column]:
    """Errors of the mean, or spreads if there is no truth, at each moment."""
    known = bool(summary["rmse"].notnull().any())
    units = style.quantity("RMSE" if known else "spread", summary["spread"])
    found = []
    for moment in summary["moment"].values:
        at = summary.sel(moment=moment)
        head = str(moment).replace(" ", "\n")
        entries = _column(at, "rmse") if known else [_number(value) for value in at["spread"].values]
        found.append(Column(units, head, entries, _best(at["rmse"], at["rmse_error"]) if known else ()))
    return found


def _columns(summary: xr.Dataset, quantity: Quantity, head: Head) -> list[Column]:
    """The columns of a quantity, one for each space if there are several; none if the summary does not have it."""
    if quantity.name not in summary:
        return []
    moment = judged_moment(summary)
    at = summary.sel(moment=moment)
    if "level" in at[quantity.name].dims:
        coverage = at[quantity.name].sel(level=COVERED, method="nearest")
        level, ideal = f"{float(coverage['level']):.0%}", float(coverage["level"])
        entries = [f"{value:.0%}" if isfinite(value) else NONE for value in coverage.values]
        group, text = head.group.format(level=level, moment=moment), head.text.format(level=level)
        return [Column(group, text, entries, _best(coverage.round(2), None, ideal))]
    if "space" in at[quantity.name].dims:
        return [
            Column(
                head.group,
                head.text.format(space=SPACES.get(space, space)),
                _column(at.sel(space=space), quantity.name),
                _best(at[quantity.name].sel(space=space), at[f"{quantity.name}_error"].sel(space=space), head.ideal),
            )
            for space in at["space"].values
        ]
    if quantity.error:
        entries, error = _column(at, quantity.name), at[f"{quantity.name}_error"]
    else:
        entries, error = [_number(value / head.scale) for value in at[quantity.name].values], None
    return [Column(head.group.format(moment=moment), head.text, entries, _best(at[quantity.name], error, head.ideal))]


def _best(values: xr.DataArray, errors: xr.DataArray | None, ideal: float = -inf) -> Sequence[bool]:
    """Which of all methods is nearest to an ideal, and which are no farther than the error of the difference."""
    away = values.values if ideal == -inf else np.abs(values.values - ideal)
    known = np.isfinite(away)
    if known.sum() < 2:
        return ()
    error = np.zeros(len(away)) if errors is None else np.nan_to_num(errors.values)
    first = int(np.where(known, away, inf).argmin())
    best: list[bool] = (known & (away - away[first] <= np.hypot(error, error[first]))).tolist()
    return best if not all(best) else ()


def _column(summary: xr.Dataset, name: str) -> list[str]:
    """The entries of a score with its error."""
    return [
        with_error(float(value), float(error))
        for value, error in zip(summary[name].values, summary[f"{name}_error"].values, strict=True)
    ]


def with_error(value: float, error: float) -> str:
    """A number and its standard error, both to the error's first digit (two digits of an error that starts with 1).

    Args:
        value: The number.
        error: Its standard error; not finite or zero if unknown, and left out if it is too small to show.

    Returns:
        For example ``0.213±0.012``.
    """
    if not isfinite(value) or not isfinite(error) or error <= 0:
        return _number(value)
    exponent = floor(log10(error))
    digits = min(max(0, -exponent + (error / 10**exponent < 2)), DIGITS)
    if round(error, digits) == 0:
        return _number(value)
    return f"{value:.{digits}f}±{error:.{digits}f}".replace("-", "−")


def _number(value: float) -> str:
    """A number to three significant digits."""
    if not isfinite(value):
        return NONE if isnan(value) else f"{value}".replace("inf", "∞").replace("-", "−")
    digits = max(0, 2 - floor(log10(abs(value)))) if value else 0
    return f"{value:.{min(digits, DIGITS)}f}".replace("-", "−")


def _draw(columns: Sequence[Column], failed: Sequence[str] = ()) -> Figure:
    """Sets the table in blocks as wide as the page, and a note; taller than it if need be: letters keep their size."""
    blocks, count = _blocks(columns), len(columns[0].entries)
    block, widest = HEADS + count + FOOT, max(float(np.sum(_widths(block))) for block in blocks)
    height = len(blocks) * block + 1.4 + bool(failed)
    figure = Figure(figsize=(max(style.WIDTH, CHARACTER * widest), LINE * height))
    axes = figure.add_axes((0.005, 0, 0.99, 1))
    axes.set_axis_off()
    # Heights count lines downwards; the first entry of the first block stands at zero.
    axes.set(xlim=(0, widest), ylim=(height - HEADS, -HEADS))
    for place, own in enumerate(blocks):
        _block(axes, own, place * block, widest)
    note = (
        "Means over cases ± one standard error; bold: the best, and what errors do not tell from it. "
        "Gap: log-likelihood above\nthat of a calibrated posterior."
    )
    if failed:
        note += f"\nFailed, and left out: {', '.join(failed)}."
    axes.text(0, len(blocks) * block - HEADS - 0.4, note, va="top", color="0.3")
    return figure


def _blocks(columns: Sequence[Column]) -> list[list[Column]]:
    """The columns in blocks that are as wide as the page, each with the methods' names; groups stay together."""
    names, *others = columns
    blocks = [[names]]
    for _, members in groupby(others, key=lambda column: column.group):
        group = list(members)
        if len(blocks[-1]) > 1 and sum(_widths([*blocks[-1], *group])) * CHARACTER > style.WIDTH:
            blocks.append([names])
        blocks[-1] += group
    return blocks


def _block(axes: Axes, columns: Sequence[Column], top: float, width: float) -> None:
    """Sets one block, whose first entries stand at a height, spread out to the width of the widest one."""
    count, widths = len(columns[0].entries), np.array(_widths(columns))
    widths[1:] += (width - widths.sum()) / max(1, len(columns) - 1)
    right = np.cumsum(widths)
    for column, edge in zip(columns, right, strict=True):
        place, align = (edge, "right") if column.group else (0, "left")
        axes.text(place, top - 0.95, column.head, ha=align, va="baseline", linespacing=1.1)
        for line, text in enumerate(column.entries):
            weight = "bold" if column.best and column.best[line] else "normal"
            axes.text(place, top + line, text, ha=align, va="center", weight=weight)
    _groups(axes, columns, right, top)
    for height, thickness in ((-3.8, 0.9), (-0.65, 0.5), (count - 0.35, 0.9)):
        axes.axhline(top + height, color="black", linewidth=thickness)


def _widths(columns: Sequence[Column]) -> list[float]:
    """The widths of all columns in characters; those that share a head have to hold all of it together."""
    found: list[float] = []
    for group, members in groupby(columns, key=lambda column: column.group):
        widths = [column.width for column in members]
        lacking = max(0.0, GAP + len(group) - sum(widths)) / len(widths)
        found += [width + lacking for width in widths]
    return found


def _groups(axes: Axes, columns: Sequence[Column], right: np.ndarray, top: float) -> None:
    """Sets the heads that neighbours share, each over a rule."""
    for group, members in groupby(zip(columns, right, strict=True), key=lambda place: place[0].group):
        places = list(members)
        # Columns are set to the right, and may be spread far apart: the head keeps to what stands in the first.
        end = places[-1][1]
        start = min(places[0][1] - places[0][0].width, end - len(group) - GAP) + GAP
        if len(places) > 1:
            axes.text((start + end) / 2, top - 3.25, group, ha="center", va="center")
            axes.plot((start, end), (top - 2.75, top - 2.75), color="black", linewidth=0.4)
        else:
            axes.text(end, top - 3.25, group, ha="right", va="center")
