"""The table of all methods as text: a row for each method, and a column for each score, moment and parameter."""

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np
import xarray as xr

from .score import Quantity, Score
from .summary import calibrated
from .table import SCORES, attributes

#: The dimensions along which blocks of columns follow each other: a block holds all of its scores.
BLOCKS = ("moment", "space", "parameter")


class Column(NamedTuple):
    """A quantity, the units behind its heading, and the dimension of its blocks, if it has one."""

    quantity: Quantity
    units: str
    block: str


def rows(summary: xr.Dataset) -> list[dict[str, str]]:
    """The rows of the table.

    Optional scores that no method has are left out: without a reference there are no distances, without a density no
    log scores, and so on. A score that some method has in other cases than its errors has their number in a column of
    its own.

    Args:
        summary: The summary of a comparison, see :func:`posterity.metrics.summarize`.

    Returns:
        For each method its numbers as text, by headings that are the same for all; empty if missing.
    """
    columns = list(_columns(summary))
    return [_row(summary.sel({"method": method}), columns) for method in summary["method"].values]


def _columns(summary: xr.Dataset) -> Iterator[Column]:
    """The columns that there are."""
    state = summary["spread"].attrs.get("units", "1")
    names = (score.shown[0].name for score in SCORES if score.optional)
    absent = {name for name in names if name in summary and summary[name].isnull().all()}
    for score in SCORES:
        for quantity in score.shown:
            needed = quantity.beside or quantity.name
            if needed in summary and needed not in absent:
                yield Column(quantity, score.units.heading(state), _block(summary[quantity.name]))
        if score.shown:
            yield from _counts(summary, score)


def _counts(summary: xr.Dataset, score: Score) -> Iterator[Column]:
    """The columns of the numbers of cases of a score and its floor, where they are others than those of the methods."""
    for name in score.names:
        count = summary.get(f"{name}_cases")
        if count is not None and bool(((count > 0) & (count != summary["cases"])).any()):
            block = _block(count)
            heading = f"cases of the {attributes(name)['long_name']}{' ({parameter})' * (block == 'parameter')}"
            yield Column(Quantity(str(count.name), heading, 1), "", block)


def _block(variable: xr.DataArray) -> str:
    """The dimension of the blocks of a variable, if it has one."""
    return next((name for name in BLOCKS if name in variable.dims), "")


def _row(summary: xr.Dataset, columns: list[Column]) -> dict[str, str]:
    """The row of one method."""
    row = {"method": str(summary["method"].item())}
    row |= {name: _text(summary[name], 1) for name in ("cases", "samples")}
    row["calibrated"] = {0.0: "no", 1.0: "yes"}.get(float(calibrated(summary)), "")
    for block, members in groupby(columns, key=lambda column: column.block):
        group = list(members)
        for place in summary[block].values if block else ("",):
            at = summary.sel({block: place}) if block else summary
            for column in group:
                row |= _cells(at, column, place)
    return row


def _cells(summary: xr.Dataset, column: Column, place: str) -> dict[str, str]:
    """The cells of a quantity: itself with its error, or the percentage at each level."""
    (name, heading, digits, error, *_), units, block = column
    value, behind = summary[name], "" if block in ("", "parameter") else f", {place}"
    if "level" in value.dims:
        return {
            f"{heading.format(level=f'{100 * level:.0f}', parameter=place)}{behind} (%)": _text(at, 3)
            for level, at in zip(value["level"].values, 100 * value, strict=True)
        }
    heading = heading.format(parameter=place)
    cells = {f"{heading}{behind}{units}": _text(value, digits)}
    return cells | ({f"{heading} standard error{behind}{units}": _text(summary[f"{name}_error"], 2)} if error else {})


def _text(value: xr.DataArray, digits: int = 4) -> str:
    """A number with some significant digits, never fewer than its integer part has; empty if missing."""
    number = float(value)
    if not np.isfinite(number):
        return "" if np.isnan(number) else str(number)
    magnitude = int(np.floor(np.log10(abs(number)))) if number else 0
    return f"{number:.{max(0, digits - 1 - magnitude)}f}"
