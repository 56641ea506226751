"""Observations as methods take them, from datasets of the package and of others."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np
import torch
import xarray as xr

from ..data import accept
from ..data.coordinates import check_coordinates, coordinates_of
from ..data.missing import suspects
from ..data.tensors import truth_of, window_of
from ..data.times import Lengths, placed
from ..errors import DataError
from ..experiment import Experiment
from ..problems import Problem, Twin, Window

log = logging.getLogger("posterity")

#: The share of a background by which rounding of files and transforms may change it.
ROUNDING = 1e-4
#: Draws of the joint that values of a file are held against, and how many times their range a value is absurd beyond.
HELD, ABSURD = 64, 10.0


class Reading(NamedTuple):
    """How times of observations that the package did not make are read.

    Args:
        unit: One unit of the model's time, in those of the observations, or as a text such as ``5 days``; None: their
            times are the model's, or each is one step.
        tolerance: The share of a step by which a time may be off a state.
        cycles: The number of windows in a record of so many states; as many as fit if None.
    """

    unit: float | str | None = None
    tolerance: float = 0.25
    cycles: Callable[[int], int] | None = None

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """As an experiment has them read."""
        return cls(experiment.time_unit, experiment.time_tolerance, experiment.cycles_in)


class Observed(NamedTuple):
    """Observations of a file, as methods take them, and what belongs to them.

    Args:
        problem: The problem, with as many windows as the file has.
        window: What a method may see.
        cases: The numbers, or names, of the cases.
        truth: The draws of the joint that the windows belong to, if the file has them.
        coordinates: The coordinates that draws take over.
    """

    problem: Problem
    window: Window
    cases: np.ndarray
    truth: Twin | None
    coordinates: Mapping[str, xr.Variable]


#: Times as they are: each a step, or in units of the model.
AS_IT_IS = Reading()


def observe(
    dataset: xr.Dataset, problem: Problem, source: str, device: torch.device | str, reading: Reading = AS_IT_IS
) -> Observed:
    """Takes from a twin what a method may see, and what it may not.

    Warns of cases without any observation, and of values that look like marks of missing ones.

    Args:
        dataset: A ``twin`` dataset.
        problem: The problem.
        source: Where it is from, for messages.
        device: Where the tensors go.
        reading: How its times are read.

    Returns:
        The observations, with the problem of as many windows as the dataset has.

    Raises:
        ConfigError: If averages would leave out all of its windows.
        DataError: If it is no twin, does not fit the problem, or holds no observation.
    """
    dataset = accept(dataset, "twin", source).load()
    own = "experiment" not in dataset.attrs
    lengths = Lengths(problem.window, problem.cycles, problem.forecast)
    dataset = placed(
        dataset, lengths, problem.system.dt, reading.unit, reading.tolerance, source, problem.system.time_units
    )
    states = dataset.sizes["time"]
    cycles = _cycles(lengths, states) if reading.cycles is None else reading.cycles(states)
    problem = replace(problem, cycles=cycles)
    if not dataset["observation"].notnull().any():
        raise DataError(f"{source}: 'observation' holds no value, NaN alone; give it at least one observation")
    window = window_of(dataset, problem, source, device)
    if own:
        check_coordinates(dataset, problem, source)
        window = admissible(window, problem, source)
    cases = cases_of(dataset)
    if len(set(cases.tolist())) < len(cases):
        raise DataError(f"{source}: 'case' holds labels more than once; give each case one of its own, or none at all")
    blind = window.y.isnan().flatten(1).all(dim=-1)
    if blind.any():
        which = ", ".join(str(cases[i]) for i in blind.nonzero().flatten().tolist()[:10])
        log.warning("%s: case %s has no observation at all; its posterior is the prior", source, which)
    _warn_of_marks(problem, window, source)
    truth = truth_of(dataset, problem, window, source, device)
    return Observed(problem, window, cases, truth, coordinates_of(dataset, problem))


def _cycles(lengths: Lengths, states: int) -> int:
    """The number of windows in a record of so many states, with those of the forecast."""
    return lengths.cycles if lengths.forecast or states % lengths.window else states // lengths.window


def cases_of(dataset: xr.Dataset) -> np.ndarray:
    """The labels of the cases of a dataset; their numbers if it has none."""
    return dataset["case"].to_numpy() if "case" in dataset.coords else np.arange(dataset.sizes["case"])


def one_window(observed: Observed, source: str, key: str) -> Observed:
    """The observations, if they are of one window; for methods that take no more.

    Raises:
        DataError: If they are of several.
    """
    problem = observed.problem
    if problem.cycles > 1:
        raise DataError(
            f"{source}: has {problem.length} times, and {key} sees one window of {problem.window} states; cut the "
            "file, or take a method that needs no training, which runs through the record"
        )
    return observed


def admissible(window: Window, problem: Problem, source: str) -> Window:
    """Takes for backgrounds of users the nearest states that the system can be in; says so if that changes them.

    Args:
        window: The windows of a file that the package did not make.
        problem: The problem.
        source: Where they are from, for the message.

    Returns:
        The windows, for velocities for example without the divergence of their backgrounds.
    """
    found = window.background
    nearest = problem.system.admissible(found)
    if nearest is found:
        return window
    changed = ((nearest - found).flatten(1).norm(dim=1) / found.flatten(1).norm(dim=1)).nan_to_num(nan=0.0)
    if (changed > ROUNDING).any():
        log.warning(
            "%s: %d backgrounds are none that the system can have, and the nearest ones are taken, without their "
            "divergence for example; that changes them by %.2g of their norm at most",
            *(source, int((changed > ROUNDING).sum()), float(changed.max())),
        )
    return window._replace(background=nearest)


@torch.no_grad()
def _warn_of_marks(problem: Problem, window: Window, source: str) -> None:
    """Warns of values far from all others that no draw of the prior comes near: marks of missing values, it seems."""
    found = [
        (name, value, count)
        for name, values in (("observation", window.y), ("background", window.background))
        for value, count in suspects(values.cpu().numpy())
    ]
    if not found:
        return
    with torch.random.fork_rng():
        drawn = problem.sample((HELD,)).window
    for name, value, count in found:
        values = drawn.y if name == "observation" else drawn.background
        known = values[values.isfinite()]
        low, high = (float(known.min()), float(known.max())) if len(known) else (value, value)
        if not low - ABSURD * (high - low) <= value <= high + ABSURD * (high - low):
            log.warning(
                "%s: '%s' is %g at %d places, where the prior gives %.3g to %.3g; if it marks missing values, write "
                "NaN there, or name it in the attribute missing_value",
                *(source, name, value, count, low, high),
            )
