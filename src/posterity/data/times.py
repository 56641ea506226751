"""Times of files, and the steps of the model that they stand for. The only place that knows both."""

import logging
from collections.abc import Mapping
from math import ceil
from typing import NamedTuple, Self

import numpy as np
import xarray as xr

from ..errors import DataError

log = logging.getLogger("posterity")

#: The units of times that are the model's own.
UNITS = "model time units"

#: Seconds of the units of time that files use, by their names in the singular.
SECONDS: Mapping[str, float] = {
    **dict.fromkeys(("nanosecond", "ns"), 1e-9),
    **dict.fromkeys(("microsecond", "us"), 1e-6),
    **dict.fromkeys(("millisecond", "ms", "msec"), 1e-3),
    **dict.fromkeys(("second", "sec", "s"), 1.0),
    **dict.fromkeys(("minute", "min"), 60.0),
    **dict.fromkeys(("hour", "hr", "h"), 3600.0),
    **dict.fromkeys(("day", "d"), 86400.0),
    "week": 604800.0,
}

#: The share of a step by which times may be off and still stand for that step, if nothing is to be rounded.
ROUNDING = 1e-3


class Clock(NamedTuple):
    """Clock of a record: when its states are, in the units of the file that its observations come from.

    Files of draws and scores carry it as attributes of ``time``, since a filter's draws do not cover all states.

    Args:
        first: The time of the first state.
        step: The time between states.
        states: The number of states, of all windows and the forecast.
    """

    first: float
    step: float
    states: int

    @classmethod
    def of(cls, dataset: xr.Dataset) -> Self | None:
        """The clock that a file carries; None if it has none."""
        attributes = dataset["time"].attrs if "time" in dataset.coords else {}
        try:
            return cls(float(attributes["first_state"]), float(attributes["step"]), int(attributes["states"]))
        except KeyError:
            return None

    @property
    def attributes(self) -> dict[str, float | int]:
        """What files carry."""
        return {"first_state": self.first, "step": self.step, "states": self.states}

    def steps(self, times: np.ndarray) -> np.ndarray:
        """The number of the state that is nearest to each time."""
        return np.rint((np.asarray(times, dtype=float) - self.first) / self.step).astype(int)

    def times(self, steps: np.ndarray) -> np.ndarray:
        """The time of each state."""
        found: np.ndarray = self.first + self.step * np.asarray(steps)
        return found


class Lengths(NamedTuple):
    """Lengths of a record that an experiment takes: states of a window, windows, states of the forecast.

    The number of windows is that of the experiment; a file may have more or fewer.
    """

    window: int
    cycles: int
    forecast: int


def model_times(dt: float, steps: range, states: int, units: str = UNITS) -> xr.Variable:
    """The times of states in the model's own time and its units, with the clock that belongs to them."""
    times = np.asarray(steps) * dt
    return xr.Variable("time", times, {"units": units, **Clock(0.0, dt, states).attributes})


def placed(
    dataset: xr.Dataset,
    lengths: Lengths,
    dt: float,
    unit: float | str | None,
    tolerance: float,
    source: str,
    own: str = UNITS,
) -> xr.Dataset:
    """Puts observations on the steps of the model: a time for each state of window (or windows) and forecast.

    The first time of the file is the first state. Without a coordinate ``time``, and where its units are not the
    model's and ``unit`` is not known, each time of the file is one step; see :func:`on_steps` for the rest.

    Args:
        dataset: A ``twin`` dataset.
        lengths: What the experiment takes.
        dt: The time between states, in model time units.
        unit: One unit of the model's time, in those of the file, or as a text such as ``5 days``; None if not known.
        tolerance: The share of a step by which a time may be off.
        source: The file's name, for messages.
        own: The units of the model's time; where they are those of a clock, they say what one is in the file.

    Returns:
        The dataset, with the times of its states in its own units, and with the clock.

    Raises:
        DataError: If times are missing or text, stand between the model's, or are more or fewer than it takes.
    """
    count = dataset.sizes["time"]
    if "time" not in dataset.coords:
        return on_steps(dataset, Clock(0.0, dt, _states(count, lengths, False, source)), tolerance, source, own)
    times = _numbers(dataset["time"], source)
    step, sparse = _step(dataset["time"], times, dt, unit, source, own)
    known = Clock.of(dataset)
    # A file of the package says where its record starts, even if its first times were cut off.
    first = known.first if known is not None and np.isclose(known.step, step) else float(times.min())
    clock = Clock(first, step, count)
    states = _states(int(clock.steps(times).max()) + 1, lengths, sparse, source)
    if not sparse and states > 1 and times.min() == times.max():
        raise DataError(
            f"{source}: one 'time' alone does not say how far states are apart; say in the experiment what one unit "
            "of the model's time is, as in 'time_unit: 5 days'"
        )
    return on_steps(dataset, clock._replace(states=states), tolerance, source, own)


def on_steps(dataset: xr.Dataset, clock: Clock, tolerance: float, source: str, own: str = UNITS) -> xr.Dataset:
    r"""Puts observations on the states of a clock.

    Times are sorted. Each stands for the nearest state, and states without one are not observed. Several reports of
    one entry in one step become one, by their precisions,

    .. math:: y = \sigma^2 \sum_i y_i / \sigma_i^2, \qquad \sigma^{-2} = \sum_i \sigma_i^{-2} ,

    which leaves the posterior as it is.

    Args:
        dataset: A ``twin`` dataset.
        clock: The clock.
        tolerance: The share of a step by which a time may be off.
        source: The file's name, for messages.
        own: The units of the model's time.

    Returns:
        The dataset with as many times as the clock has states; lazy if it was, unless reports are joined.

    Raises:
        DataError: If a time stands between states or beyond them, a report stands there twice, or a truth does not have
            one state for each time.
    """
    count = dataset.sizes["time"]
    if "time" not in dataset.coords:
        units = {"units": own} if clock.first == 0 else {}
        dataset = dataset.assign_coords(time=("time", clock.times(np.arange(count)), units))
    time = dataset["time"]
    values = _numbers(time, source)
    steps = clock.steps(values)
    _check_steps(values, steps, clock, tolerance, time, source)
    order = np.argsort(values, kind="stable")
    if not np.array_equal(order, np.arange(count)):
        dataset, values, steps = dataset.isel(time=order), values[order], steps[order]
    exact = clock.times(np.arange(clock.states))
    near = np.abs(values - exact[steps]) <= ROUNDING * clock.step
    exact[steps[near]] = values[near]
    if not np.array_equal(steps, np.arange(clock.states)):
        if "state" in dataset and not np.array_equal(steps, np.arange(count)):
            raise DataError(
                f"{source}: 'state' needs one state at each time of the model; give all of them, or leave 'state' out"
            )
        if len(np.unique(steps)) < count:
            dataset = _joined(dataset, values, steps, source)
        dataset = dataset.assign_coords(time=np.unique(steps)).reindex(time=np.arange(clock.states))
    return dataset.assign_coords(time=("time", exact, {**time.attrs, **clock.attributes}))


def readable(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with times since its first state, if they are since a date: figures have room for few digits."""
    clock = Clock.of(dataset)
    if clock is None:
        return dataset
    time = dataset["time"]
    units, _, date = str(time.attrs.get("units", "")).partition(" since ")
    if not date:
        return dataset
    try:
        start = xr.decode_cf(xr.Dataset(coords={"time": ("time", [clock.first], time.attrs)}))["time"]
    except ValueError:
        return dataset
    text = str(start.dt.strftime("%Y-%m-%d %H:%M:%S").values[0]).removesuffix(":00").removesuffix(" 00:00")
    text = f"{units} since {text}"
    attributes = time.attrs | {"units": text} | clock._replace(first=0.0).attributes
    return dataset.assign_coords(time=("time", time.values - clock.first, attributes))


def _numbers(time: xr.DataArray, source: str) -> np.ndarray:
    """The times as numbers, each of which has a meaning."""
    if time.dims != ("time",):
        raise DataError(
            f"{source}: 'time' has dimensions ({', '.join(map(str, time.dims))}); all cases share one axis of times, "
            "with the dimension (time); give cases of other times in files of their own"
        )
    if time.dtype.kind not in "fiu":
        raise DataError(
            f"{source}: 'time' holds text ({str(time.values[0])!r}, …), and no times; write numbers with 'units' (as "
            "xarray writes datetime64), or leave the coordinate out if each time is one step of the model"
        )
    values = time.to_numpy().astype(float)
    if (wrong := ~np.isfinite(values)).any():
        raise DataError(
            f"{source}: 'time' is missing (NaN) at {wrong.sum()} of {len(values)} places, first at index "
            f"{np.flatnonzero(wrong)[0]}; drop these observations, or fill in their times"
        )
    return values


def _step(
    time: xr.DataArray, times: np.ndarray, dt: float, unit: float | str | None, source: str, own: str
) -> tuple[float, bool]:
    """The time between states in the file's units, and whether that is known, so that times may be left out."""
    units = str(time.attrs.get("units", ""))
    gaps = np.diff(np.unique(times))
    if units in (UNITS, own):
        return dt, True
    if not units and unit is None and (not len(gaps) or np.isclose(gaps.min(), dt, rtol=ROUNDING)):
        return dt, True
    if unit is None and _seconds(own) and _seconds(_plain(units)):
        unit = f"1 {own}"
    if unit is not None:
        return dt * _in_units(unit, units, source), True
    if not len(gaps):
        return dt, False
    step = float(gaps.min())
    steps = (times - times.min()) / step
    if np.abs(steps - np.rint(steps)).max() > 0.1:
        raise DataError(
            f"{source}: 'time' ({units or 'without units'}) is not evenly spaced: {gaps.min():g} to {gaps.max():g} lie "
            "between its times; say in the experiment what one unit of the model's time is in these units, as in "
            "'time_unit: 5 days' or 'time_unit: 120'"
        )
    step = float((times.max() - times.min()) / np.rint(steps).max())
    log.info("%s: a step of the model is %g %s; 'time_unit' in the experiment would say so", source, step, units)
    return step, False


def _in_units(unit: float | str, units: str, source: str) -> float:
    """One unit of the model's time, in the units of a file."""
    if isinstance(unit, int | float):
        return float(unit)
    number, _, word = unit.partition(" ")
    own = _plain(units)
    if _seconds(own) is None:
        raise DataError(
            f"{source}: 'time' has the units '{own or 'none'}', and 'time_unit' of the experiment is {unit}; give the "
            "coordinate units such as 'hours since 2020-01-01', or 'time_unit' as a number in the file's units"
        )
    return float(number) * (_seconds(word) or np.nan) / (_seconds(own) or np.nan)


def _plain(units: str) -> str:
    """Units of time without the date that they count from."""
    return units.partition(" since ")[0].strip()


def _seconds(word: str) -> float | None:
    """The seconds of a unit of time; None if it is not one."""
    return SECONDS.get(word.lower()) or SECONDS.get(word.lower().removesuffix("s"))


def _states(count: int, lengths: Lengths, sparse: bool, source: str) -> int:
    """The number of states of a record of so many times; where steps are known, the last ones may be missing."""
    window, cycles, forecast = lengths
    one = window * cycles
    if count in (one, one + forecast):
        return one + forecast
    if not forecast and (count > window or cycles > 1) and (sparse or count % window == 0):
        return ceil(count / window) * window
    if sparse and count < one + forecast:
        return one + forecast
    windows = f"{cycles} windows of {window} states" if cycles > 1 else f"{window} states"
    raise DataError(
        f"{source}: has {count} times{' of the model, from its first to its last' * sparse}; "
        f"the experiment assimilates {windows}"
        + (f" (and forecasts {forecast} more)" if forecast else "")
        + "; cut the file, or change 'window' in the experiment"
        + ("" if forecast or sparse else ", or leave NaN where nothing was observed")
    )


def _check_steps(
    values: np.ndarray, steps: np.ndarray, clock: Clock, tolerance: float, time: xr.DataArray, source: str
) -> None:
    """Raises if times stand between states, or beyond them."""
    off = np.abs((values - clock.first) / clock.step - steps)
    units = str(time.attrs.get("units", "")).partition(" since ")[0]
    if (wrong := off > tolerance).any():
        raise DataError(
            f"{source}: 'time' stands between the states of the model at {wrong.sum()} of {len(values)} places, first "
            f"at {values[wrong][0]:.15g}: states are {clock.step:g} {units} apart, from {clock.first:.15g} on, and "
            f"times may be off by {tolerance:g} of that; correct 'time_unit' in the experiment, or raise "
            "'time_tolerance'"
        )
    if (wrong := (steps < 0) | (steps >= clock.states)).any():
        raise DataError(
            f"{source}: 'time' {values[wrong][0]:.15g} is not among the {clock.states} states of the record, "
            f"{clock.step:g} {units} apart from {clock.first:.15g} on; make the draws again, from this file"
        )


def _joined(dataset: xr.Dataset, values: np.ndarray, steps: np.ndarray, source: str) -> xr.Dataset:
    """The observations with one report for each step that has any; times are sorted."""
    observed = [dataset[name].load() for name in ("observation", "observation_std")]
    y, std = (variable.to_numpy().astype(float) for variable in observed)
    if (wrong := np.isfinite(y) & ~((std > 0) & np.isfinite(std))).any():
        raise DataError(
            f"{source}: 'observation_std' must be positive and finite wherever there is an observation; it is not at "
            f"{wrong.sum()} entries, first at index {tuple(map(int, np.argwhere(wrong)[0]))}; correct these"
        )
    for row in np.flatnonzero(np.diff(values) == 0):
        pair = y[:, row : row + 2]
        if np.isfinite(pair).any() and np.array_equal(pair[:, 0], pair[:, 1], equal_nan=True):
            raise DataError(
                f"{source}: 'time' {values[row]:.15g} stands more than once with the same observations; each report "
                "counts as a measurement of its own: drop the copies (xarray: drop_duplicates('time'))"
            )
    starts = np.flatnonzero(np.diff(steps, prepend=-1))
    precision = np.where(np.isnan(y), 0.0, std**-2.0)
    total = np.add.reduceat(precision, starts, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        joined = np.add.reduceat(np.where(np.isnan(y), 0.0, precision * y), starts, axis=1) / total
        stds = np.where(total > 0, total**-0.5, np.nan)
    log.info("%s: %d times are %d steps; reports of one step are joined", source, len(values), len(starts))
    other = dataset.drop_dims("time")
    for variable, result in zip(observed, (joined, stds), strict=True):
        other[variable.name] = (variable.dims, result, variable.attrs)
    return other.assign_coords({name: c for name, c in dataset.coords.items() if "time" not in c.dims})
