"""Coordinates of datasets: cases, times, names, sites, and where observations stand."""

from collections.abc import Mapping
from math import prod

import numpy as np
import xarray as xr

from ..errors import DataError
from ..problems import Problem
from .schema import GRIDS, dims
from .times import model_times

#: The share of the mean spacing by which gaps between sites may differ: as latitudes of a model's grid do.
UNEVEN = 0.05


def check_coordinates(dataset: xr.Dataset, problem: Problem, source: str) -> None:
    """Checks that what a file of others says of channels and sites is what the model makes of their order.

    Args:
        dataset: A ``twin`` dataset.
        problem: The problem.
        source: The file's name, for messages.

    Raises:
        DataError: If channels are in another order, or sites stand in decreasing order, or at uneven distances.
    """
    names = [str(name) for name in problem.system.channels]
    for dim in ("channel", "obs_channel") if problem.observation.operator.observes_state else ("channel",):
        found = [str(name) for name in dataset[dim].values] if dim in dataset.coords else names
        if found != names and sorted(found) == sorted(names):
            raise DataError(
                f"{source}: '{dim}' is {', '.join(found)}, and the model takes them as {', '.join(names)}; put them in "
                f"that order, as by xarray's sel({dim}={names})"
            )
    for dim in ("x", "y", "obs_x", "obs_y"):
        if dim not in dataset.coords or not np.issubdtype(dataset[dim].dtype, np.number) or dataset.sizes[dim] < 2:
            continue
        gaps = np.diff(dataset[dim].values.astype(float))
        if (gaps < 0).all():
            raise DataError(
                f"{source}: '{dim}' decreases, and the model's grid increases along it; turn states and observations "
                "round, as by xarray's isel(y=slice(None, None, -1), obs_y=slice(None, None, -1))"
            )
        if not np.abs(gaps / gaps.mean() - 1).max() <= UNEVEN:
            raise DataError(
                f"{source}: '{dim}' has gaps of {gaps.min():.3g} to {gaps.max():.3g}, and the model's grid is even; "
                "interpolate to an even grid, or drop the coordinate if it says no places, as by xarray's drop_vars"
            )


def coordinates_of(dataset: xr.Dataset, problem: Problem) -> dict[str, xr.Variable]:
    """The coordinates of a file of observations that its draws and scores take over: times, places, names.

    Args:
        dataset: A ``twin`` dataset, with a time for each state.
        problem: The problem.

    Returns:
        The coordinates along the dimensions of states and observations, by name.
    """
    sizes = sites_of(problem) | {"time": problem.steps, "case": dataset.sizes["case"]}
    fit = {n: c.variable for n, c in dataset.coords.items() if all(sizes.get(d) == k for d, k in c.sizes.items())}
    return {str(name): xr.Variable(c.dims, c.values, c.attrs) for name, c in fit.items()}


def sites_of(problem: Problem) -> dict[str, int]:
    """The sizes of the dimensions of a state and of an observation, by name."""
    found: dict[str, int] = {}
    for prefix, shape in (("", problem.shape), ("obs_", problem.observation.shape)):
        names = ("channel", *GRIDS[len(shape) - 1])
        found |= {prefix + name: size for name, size in zip(names, shape, strict=True)}
    return found


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
        "time": model_times(problem.system.dt, steps, problem.steps, problem.system.time_units),
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
