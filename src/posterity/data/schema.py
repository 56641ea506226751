"""The schema of files of states and draws: names, dimensions, checks. The only place that knows them."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ..errors import DataError

#: Names of the grid's dimensions, by their number.
GRIDS: Mapping[int, tuple[str, ...]] = {0: (), 1: ("x",), 2: ("y", "x")}

#: Prefix of the diagnostics of a method.
INFO = "info_"

#: What the diagnostics of the package's own methods are, and their units; others are named by their names.
DIAGNOSTICS: Mapping[str, tuple[str, str]] = {
    "seconds": ("wall time", "s"),
    "model_steps": ("model steps", "1"),
    "gradients": ("gradients", "1"),
    "network_calls": ("evaluations of networks for a draw", "1"),
    "network_pullbacks": ("sweeps back through networks for a draw", "1"),
    "failed": ("draws that failed", "1"),
    "cost": ("cost", "nat"),
    "objective": ("objective at each iteration", "nat"),
    "elbo": ("evidence lower bound", "nat"),
    "log_evidence": ("log-evidence", "nat"),
    "log_normalizer": ("log of the normalising constant", "nat"),
    "iterations": ("iterations", "1"),
    "converged": ("whether it converged", "1"),
    "ess": ("effective number of draws", "1"),
    "k_hat": ("shape of the tail of the weights, k-hat", "1"),
    "distinct": ("distinct first states among the draws", "1"),
    "rhat": ("potential scale reduction, R-hat", "1"),
    "acceptance": ("acceptance rate", "1"),
    "step": ("step size", "1"),
    "temperatures": ("temperatures", "1"),
    "threshold": ("largest distance that was kept", "1"),
    "gap": ("largest gap between runs, in standard deviations", "1"),
    "gap_median": ("median gap between runs, in standard deviations", "1"),
}

#: What the coordinates are.
COORDINATES: Mapping[str, str] = {
    "case": "number of the case",
    "sample": "number of the draw",
    "draw": "number of the draw",
    "time": "time",
    "channel": "channel of the state",
    "y": "site, second axis",
    "x": "site",
    "obs_channel": "channel of the observations",
    "obs_y": "site of the observations, second axis",
    "obs_x": "site of the observations",
    "obs_site": "site of the states at which an observation stands, row by row",
    "parameter": "unknown parameter",
    "iteration": "number of the iteration",
    "method": "method",
    "variant": "variant of the experiment",
    "seed": "number of the training",
}


@dataclass(frozen=True)
class Variable:
    """A variable of a file.

    Args:
        dims: Its leading dimensions; ``*`` stands for the dimensions of the grid.
        required: Whether a file must have it.
        description: What it is.
        units: Its units, if nothing else says them.
    """

    dims: tuple[str, ...]
    required: bool
    description: str
    units: str = "1"


#: Kinds of files, by the variables that each may hold. Other variables are left alone.
Schema = Mapping[str, Mapping[str, Variable]]

#: The kinds that hold states and draws; those that hold scores stand in :mod:`posterity.data.scores`.
SCHEMA: Schema = {
    "twin": {
        "state": Variable(("case", "time", "channel", "*"), False, "true states"),
        "theta": Variable(("case", "parameter"), False, "true parameters"),
        "background": Variable(("case", "channel", "*"), False, "background of the first state"),
        "background_std": Variable(("case", "channel", "*"), False, "standard deviation of the background"),
        "start": Variable(("case",), False, "steps since the start of the ensemble at which the window starts"),
        "observation": Variable(("case", "time", "obs_channel", "obs_*"), True, "observations, NaN if missing"),
        "observation_std": Variable(
            ("case", "time", "obs_channel", "obs_*"), True, "standard deviation of the observations"
        ),
    },
    "climatology": {
        "state": Variable(("draw", "channel", "*"), True, "states at the start of the ensemble"),
        "held_out": Variable(("draw",), True, "whether only validation, test cases and classifiers draw it"),
    },
    "states": {
        "state": Variable(("case", "time", "channel", "*"), True, "true states"),
        "theta": Variable(("case", "parameter"), False, "true parameters"),
        "background": Variable(("case", "channel", "*"), False, "background of the first state"),
        "background_std": Variable(("case", "channel", "*"), False, "standard deviation of the background"),
        "start": Variable(("case",), False, "steps since the start of the ensemble at which the window starts"),
    },
    "posterior": {
        "state": Variable(("case", "sample", "time", "channel", "*"), True, "draws of the states"),
        "theta": Variable(("case", "sample", "parameter"), False, "draws of the parameters"),
        "log_likelihood": Variable(("case", "sample"), False, "log-likelihood of the observations", "nat"),
        "log_q": Variable(
            ("case", "sample"), False, "log-density of the draws under the method's own posterior", "nat"
        ),
        "truth_log_q": Variable(("case",), False, "log-density of the truth under the method's own posterior", "nat"),
        "model_residual": Variable(
            ("case", "time"), False, "distance of the draws from what the model makes of their last state"
        ),
        "transition_gap": Variable(
            ("case", "sample"), False, "log-density of transitions above that of the model's trajectories", "nat"
        ),
        "predictive_pit": Variable(
            ("case", "time", "obs_channel", "obs_*"), False, "probability integral transform of new observations"
        ),
    },
}


#: What a kind of file is, for those who have none.
PURPOSE: Mapping[str, str] = {
    "twin": "; a twin is a NetCDF file of observations, each with its standard deviation, of dimensions "
    "(case, time, obs_channel[[, obs_y], obs_x]); a true state may stand beside them",
}


def dims(kind: str, variable: str, grid: int, schema: Schema = SCHEMA) -> tuple[str, ...]:
    """The dimensions of a variable.

    Args:
        kind: The kind of file: ``twin``, ``states`` or ``posterior``, or one of another schema.
        variable: The variable's name.
        grid: The number of grid dimensions.
        schema: The schema that holds the kind.

    Returns:
        The names of the dimensions, in order.
    """
    names: list[str] = []
    for name in schema[kind][variable].dims:
        if name.endswith("*"):
            names += [name[:-1] + axis for axis in GRIDS[grid]]
        else:
            names.append(name)
    return tuple(names)


def grid_size(variable: xr.DataArray) -> int:
    """The number of grid dimensions of a state, a background or an observation."""
    return sum(str(name).removeprefix("obs_") in GRIDS[2] for name in variable.dims)


def check(dataset: xr.Dataset, kind: str, source: str, schema: Schema = SCHEMA) -> xr.Dataset:
    """Checks names, dimensions and types, before a write and after a read, and puts dimensions in order.

    Args:
        dataset: The dataset.
        kind: The kind of file.
        source: The file's name, for messages.
        schema: The schema that holds the kind.

    Returns:
        The dataset, its variables transposed to the order of the schema.

    Raises:
        DataError: If a variable is missing, or has other dimensions or another type than the schema says.
    """
    ordered: dict[str, xr.DataArray] = {}
    for name, variable in schema[kind].items():
        if name not in dataset:
            if variable.required:
                raise DataError(
                    f"{source}: variable '{name}' ({variable.description}) is missing; a {kind} file needs "
                    f"{_wanted(schema[kind])}, and this one has {', '.join(map(str, dataset.data_vars)) or 'none'}"
                    + PURPOSE.get(kind, "")
                )
            continue
        expected = dims(kind, name, grid_size(dataset[name]), schema)
        if set(dataset[name].dims) != set(expected):
            raise DataError(
                f"{source}: '{name}' has dimensions {_tuple(dataset[name].dims)}; it should have "
                f"{_tuple(_pattern(variable))}{_difference(dataset[name].dims, variable)}"
            )
        ordered[name] = found = dataset[name].transpose(*expected)
        if not np.issubdtype(found.dtype, np.number):
            raise DataError(f"{source}: '{name}' holds {found.dtype}, not numbers; write it as float")
        if 0 in found.shape:
            empty = ", ".join(str(d) for d, n in zip(found.dims, found.shape, strict=True) if n == 0)
            raise DataError(f"{source}: '{name}' is empty along {empty}; give it at least one entry")
    # All at once: each assignment aligns the whole dataset.
    return dataset.assign(ordered)


def accept(dataset: xr.Dataset, kind: str, source: str) -> xr.Dataset:
    """Takes a dataset as files have it: checked, see :func:`check`, and with numbers and their units for dates.

    Args:
        dataset: The dataset.
        kind: The kind of file that it could be.
        source: What messages call it.

    Raises:
        DataError: If it is not of that kind.
    """
    if not isinstance(dataset, xr.Dataset):
        raise DataError(f"{source}: must be an xarray.Dataset, not {type(dataset).__name__}; open files by xarray")
    found = check(dataset, kind, source)
    if "time" not in found.coords or found["time"].dtype.kind != "M":
        return found
    time = xr.conventions.encode_cf_variable(found["time"].variable, name="time")
    return found.assign_coords(time=xr.Variable("time", time.values, time.attrs))


def described(dataset: xr.Dataset, kind: str, schema: Schema = SCHEMA) -> xr.Dataset:
    """Names all variables that do not name themselves: by ``long_name`` and, unless they are text, ``units``.

    Args:
        dataset: The dataset.
        kind: The kind of file.
        schema: The schema that holds the kind.

    Returns:
        The dataset with these attributes.
    """
    found = dataset.copy()
    for name, variable in found.variables.items():
        text, units = _description(str(name), schema[kind])
        variable.attrs.setdefault("long_name", text)
        if variable.dtype.kind not in "OSUT":
            variable.attrs.setdefault("units", units)
    return found


def _description(name: str, variables: Mapping[str, Variable]) -> tuple[str, str]:
    """What a variable or a coordinate is, and its units."""
    if name in variables:
        return variables[name].description, variables[name].units
    if name.startswith(INFO):
        own = name.removeprefix(INFO)
        return DIAGNOSTICS.get(own, (own.replace("_", " "), "1"))
    return COORDINATES.get(name, name.replace("_", " ")), "1"


def _pattern(variable: Variable) -> tuple[str, ...]:
    """The dimensions of a variable, with those of the grid, of which there may be none, one or two."""
    grid = {"*": "[[y,] x]", "obs_*": "[[obs_y,] obs_x]"}
    return tuple(grid.get(name, name) for name in variable.dims)


def _difference(found: tuple[Hashable, ...], variable: Variable) -> str:
    """The dimensions that do not fit, for a message."""
    fixed = [name for name in variable.dims if not name.endswith("*")]
    grids = [name[:-1] + axis for name in variable.dims if name.endswith("*") for axis in GRIDS[2]]
    missing, strange = [name for name in fixed if name not in found], [n for n in found if n not in [*fixed, *grids]]
    lacks = f"; {_some(missing)} missing: add it, as by xarray's expand_dims" if missing else ""
    renamed = f"; {_some(strange)} none of these: rename it, or select along it" if strange else ""
    return lacks + renamed


def _some(names: Sequence[Hashable]) -> str:
    """Names with their verb."""
    return ", ".join(f"'{name}'" for name in names) + (" is" if len(names) == 1 else " are")


def _wanted(variables: Mapping[str, Variable]) -> str:
    """The variables that a kind of file must have."""
    return ", ".join(name for name, variable in variables.items() if variable.required)


def _tuple(names: tuple) -> str:
    """Names in brackets."""
    return "(" + ", ".join(map(str, names)) + ")"
