"""Coordinates of datasets: cases, times, names, sites, and where observations stand."""

from collections.abc import Hashable, Mapping, Sequence
from math import prod

import numpy as np
import xarray as xr

from ..problems import Problem
from .schema import GRIDS, dims
from .times import model_times


def coordinates_of(dataset: xr.Dataset, problem: Problem) -> dict[str, xr.Variable]:
    """The coordinates of a file of observations that its draws and scores take over: times, places, names.

    Args:
        dataset: A ``twin`` dataset, with a time for each state.
        problem: The problem.

    Returns:
        The coordinates along the dimensions of states and observations, by name.
    """
    sizes = {**_sizes(problem.shape, ""), **_sizes(problem.observation.shape, "obs_")}
    sizes |= {"time": problem.steps, "case": dataset.sizes["case"]}
    fit = {n: c.variable for n, c in dataset.coords.items() if all(sizes.get(d) == k for d, k in c.sizes.items())}
    return {str(name): xr.Variable(c.dims, c.values, c.attrs) for name, c in fit.items()}


def _sizes(shape: Sequence[int], prefix: str) -> dict[Hashable, int]:
    """The sizes of the dimensions of a state, or of an observation."""
    return dict(zip((f"{prefix}channel", *(prefix + axis for axis in GRIDS[len(shape) - 1])), shape, strict=True))


def own_coordinates(
    problem: Problem, cases: np.ndarray, steps: range | None = None
) -> Mapping[str, tuple | xr.Variable]:
    """The coordinates of a problem: case numbers, model times, names of channels and parameters, and sites.

    Args:
        problem: The problem.
        cases: The numbers of the cases.
        steps: The states that there are; all if omitted.

    Returns:
        The coordinates by name.
    """
    steps = range(problem.steps) if steps is None else steps
    grid = problem.shape[1:]
    sites = zip(GRIDS[len(grid)], grid, problem.system.lengths, strict=True)
    axes = {name: (name, np.arange(size), {"length": length}) for name, size, length in sites}
    names = {"parameter": ("parameter", list(problem.parameters))} if problem.parameters else {}
    return {
        **names,
        "case": ("case", cases),
        "time": model_times(problem.system.dt, steps, problem.steps),
        "channel": ("channel", list(problem.system.channels)),
        **axes,
    }


def observed_sites(problem: Problem) -> Mapping[str, xr.Variable]:
    """The sites, row by row, at which observations of another grid than the states' stand.

    Args:
        problem: The problem.

    Returns:
        The coordinate ``obs_site`` of observations; nothing if they have the states' grid, or no sites are known.
    """
    grid = problem.observation.shape[1:]
    if grid == problem.shape[1:] or not grid:
        return {}
    try:
        sites = problem.observation.operator.sites
    except ValueError:
        return {}
    names = dims("twin", "observation", len(grid))[-len(grid) :]
    return {"obs_site": xr.Variable(names, sites.numpy().reshape(grid))} if sites.numel() == prod(grid) else {}
