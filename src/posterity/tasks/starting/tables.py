"""``posterity import``: observations from a table (CSV), as a twin with times and names as they came."""

import csv
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from ...data import read, write
from ...data.schema import GRIDS, dims
from ...errors import ConfigError, DataError, nearest
from ...experiment import Experiment
from ...inference.experiments import build_problem
from ...inference.observed import Reading, observe
from ...problems import Problem

log = logging.getLogger("posterity")

#: The columns of a table as text, by their names.
Columns = Mapping[str, Sequence[str]]
#: Cells that say that there is no value.
EMPTY = ("", "nan", "na", "n/a", "none", "null", "-")
#: Draws of the climatology whose mean and spread stand for a background that is not given.
DRAWS = 256


def import_table(
    experiment: Experiment,
    table: Path,
    output: Path,
    times: str,
    columns: Sequence[str] = (),
    sites: Sequence[int] = (),
    std: Sequence[float] = (),
    units: str = "",
    missing: Sequence[float] = (),
    background: Path | None = None,
) -> None:
    """Makes a twin of a table with a row for each time, and a column for each station.

    Times that are dates become such; numbers stay as they are. What is empty, or no number, is not observed. Where the
    prior is a background and none is given, the mean of the system's climatology stands for it, with its spread.

    Args:
        experiment: The experiment that the observations are for, which says what they are of.
        table: The table, as comma-separated values with a head.
        output: The twin to write.
        times: The column of times.
        columns: The columns of observations; all others if empty.
        sites: The places of these among the observations of the experiment, row by row; in order if empty.
        std: The standard deviation of the noise, one or one for each column; the experiment's if empty.
        units: The units of times that are numbers, such as ``hours since 2020-01-01``.
        missing: Numbers that stand for missing values, such as -999.
        background: A table with the columns ``background`` and ``background_std``, and a row for each entry of the
            state.

    Raises:
        ConfigError: If the experiment does not say what is not given.
        DataError: If the table cannot be read, has no such column, or does not fit the experiment.
    """
    cells = _read(table)
    names = list(columns) or [name for name in cells if name != times]
    for key, name in [("--times", times), *(("--columns", name) for name in names)]:
        if name not in cells:
            raise DataError(f"{key}: {table} has no column '{name}'{nearest(name, cells)}")
    problem = build_problem(experiment)
    y, entries = _values(cells, names, missing, table), _places(problem, names, sites, table)
    shape = (1, len(y), *problem.observation.shape)
    observation, deviation = np.full((2, len(y), int(np.prod(problem.observation.shape))), np.nan)
    observation[:, entries] = y
    deviation[:, entries] = _std(experiment, std, len(names))
    grid = len(problem.observation.shape) - 1
    own = {"units": problem.system.units}
    twin = xr.Dataset(
        {
            "observation": (dims("twin", "observation", grid), observation.reshape(shape), own),
            "observation_std": (dims("twin", "observation_std", grid), deviation.reshape(shape), own),
        },
        {"time": _times(cells[times], times, units, table)},
    )
    twin = twin.assign_coords(_names(problem, names, entries))
    if problem.joint == "background":
        twin = twin.assign(_background(problem, background))
    write(twin, output, "twin")
    try:
        observe(read(output, "twin"), problem, str(output), "cpu", Reading.of(experiment))
    except DataError:
        # What a method would refuse is no file to begin with.
        output.unlink()
        raise
    known = int(np.isfinite(y).sum())
    log.info("%s: %d of %d values at %d times, from %s", output, known, y.size, len(y), ", ".join(names))


def _read(table: Path) -> Columns:
    """The columns of the table as text, by their names."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            head, *rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as a table ({error}); give comma-separated values") from None
    if not rows:
        raise DataError(f"{table}: has no rows; give it a head, and a row for each time")
    for number, row in enumerate(rows):
        if len(row) != len(head):
            raise DataError(f"{table}: row {number + 2} has {len(row)} cells, and the head {len(head)}; mend it")
    return dict(zip(head, zip(*rows, strict=True), strict=True))


def _values(columns: Columns, names: Sequence[str], missing: Sequence[float], table: Path) -> np.ndarray:
    """The values of some columns, NaN where missing, with shape ``(time, column)``."""
    found = np.array([[_number(cell) for cell in columns[name]] for name in names]).T
    for column, name in enumerate(names):
        for row in np.flatnonzero(np.isnan(found[:, column])).tolist():
            if (cell := columns[name][row]).lower() not in EMPTY:
                raise DataError(
                    f"{table}: column '{name}' holds {cell!r} in row {row + 2}, and no number; leave missing values "
                    "empty, or name the number that stands for them (--missing)"
                )
    return np.where(np.isin(found, missing), np.nan, found)


def _number(cell: str) -> float:
    """A cell as a number; NaN if it is none."""
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _times(cells: Sequence[str], name: str, units: str, table: Path) -> xr.Variable:
    """The times: numbers as they are, dates as whole hours, or seconds, since the first."""
    for row, cell in enumerate(cells):
        if cell.lower() in EMPTY:
            raise DataError(f"{table}: column '{name}' has no time in row {row + 2}; fill it in, or drop the row")
    numbers = np.array([_number(cell) for cell in cells])
    if np.isfinite(numbers).all():
        return xr.Variable("time", numbers, {"units": units} if units else {})
    try:
        dates = [_date(cell) for cell in cells]
    except ValueError as error:
        raise DataError(f"{table}: column '{name}' holds no times ({error}); write dates as 2020-01-31T12:00") from None
    start = min(dates)
    seconds = np.array([(date - start).total_seconds() for date in dates])
    word, size = ("seconds", 1) if (seconds % 3600).any() else ("hours", 3600)
    return xr.Variable("time", seconds / size, {"units": f"{word} since {start:%Y-%m-%d %H:%M:%S}"})


def _date(cell: str) -> datetime:
    """A date in ISO 8601; one with a time zone in that of Greenwich."""
    date = datetime.fromisoformat(cell)
    return date if date.tzinfo is None else date.astimezone(UTC).replace(tzinfo=None)


def _places(problem: Problem, names: Sequence[str], sites: Sequence[int], table: Path) -> list[int]:
    """The places of columns among the observations of the problem, row by row."""
    shape = problem.observation.shape
    count = int(np.prod(shape))
    found = list(sites) or list(range(len(names)))
    if len(found) != len(names):
        raise ConfigError(f"--sites: {len(found)} places for {len(names)} columns; give one for each")
    if not sites and len(names) != count:
        raise ConfigError(
            f"{table}: has {len(names)} columns of observations, and the experiment observes {shape}, {count} entries; "
            f"say where they stand: --sites, numbers from 0 to {count - 1}, row by row"
        )
    if wrong := [site for site in found if not 0 <= site < count] or [s for s in found if found.count(s) > 1]:
        raise ConfigError(f"--sites: {wrong[0]} is no place of its own among 0 to {count - 1}")
    return found


def _std(experiment: Experiment, std: Sequence[float], columns: int) -> np.ndarray:
    """The standard deviation of the noise of each column; of an interval of the experiment its middle."""
    if not std:
        own = np.atleast_1d(experiment.observation.std).astype(float)
        log.info("standard deviations of the noise are %.3g, of the experiment; --std would say others", own.mean())
        return np.full(columns, own.mean())
    if len(std) not in (1, columns):
        raise ConfigError(f"--std: {len(std)} numbers for {columns} columns; give one, or one for each")
    return np.broadcast_to(np.asarray(std, dtype=float), (columns,))


def _names(problem: Problem, names: Sequence[str], entries: Sequence[int]) -> dict[str, tuple]:
    """The names of stations, as coordinates; where observations are on the grid of the state, of its sites too."""
    shape = problem.observation.shape
    labels = [f"site {place}" for place in range(int(np.prod(shape)))]
    for place, name in zip(entries, names, strict=True):
        labels[place] = name
    if len(shape) == 1:
        return {"station": ("obs_channel", labels)}
    grid = tuple(f"obs_{name}" for name in GRIDS[len(shape) - 1])
    if shape[0] > 1 or len(shape) > 2:
        return {"station": (("obs_channel", *grid), np.array(labels).reshape(shape))}
    found = {"obs_x": ("obs_x", labels)}
    return found | ({"x": ("x", labels)} if problem.shape[1:] == shape[1:] else {})


def _background(problem: Problem, background: Path | None) -> dict[str, tuple]:
    """The background with its standard deviations; the climatology's, if it is not given."""
    names = ("background", "background_std")
    if background is None:
        like = torch.zeros((), dtype=torch.get_default_dtype())
        states = problem.initial(problem.system, (DRAWS,), like)
        values = [states.mean(dim=0).numpy(), states.std(dim=0).numpy()]
        log.warning("no background is given: the climatology's mean and spread stand for it (--background)")
    else:
        cells = _read(background)
        for name in names:
            if name not in cells:
                raise DataError(f"{background}: has no column '{name}'; it needs {' and '.join(names)}")
        table = _values(cells, names, (), background)
        if len(table) != (count := int(np.prod(problem.shape))):
            raise DataError(f"{background}: has {len(table)} rows, and a state {count} entries; give a row for each")
        values = [column.reshape(problem.shape) for column in table.T]
    dimensions = dims("twin", "background", len(problem.shape) - 1)
    own = {"units": problem.system.units}
    return {name: (dimensions, value[None], own) for name, value in zip(names, values, strict=True)}
