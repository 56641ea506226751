"""The schema of files of states and draws: names, dimensions, checks. The only place that knows them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ..errors import DataError

#: Names of the grid's dimensions, by their number.
GRIDS: Mapping[int, tuple[str, ...]] = {0: (), 1: ("x",), 2: ("y", "x")}

#: Prefix of the diagnostics of a method.
INFO = "info_"


@dataclass(frozen=True)
class Variable:
    """A variable of a file.

    Args:
        dims: Its leading dimensions; ``*`` stands for the dimensions of the grid.
        required: Whether a file must have it.
        description: What it is.
    """

    dims: tuple[str, ...]
    required: bool
    description: str


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
        "log_likelihood": Variable(("case", "sample"), False, "log-likelihood of the observations"),
        "log_q": Variable(("case", "sample"), False, "log-density of the draws under the method's own posterior"),
        "truth_log_q": Variable(("case",), False, "log-density of the truth under the method's own posterior"),
        "predictive_pit": Variable(
            ("case", "time", "obs_channel", "obs_*"), False, "probability integral transform of new observations"
        ),
    },
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
    """Checks names, dimensions and types, before a write and after a read.

    Args:
        dataset: The dataset.
        kind: The kind of file.
        source: The file's name, for messages.
        schema: The schema that holds the kind.

    Returns:
        The dataset itself.

    Raises:
        DataError: If a variable is missing, or has other dimensions or another type than the schema says.
    """
    for name, variable in schema[kind].items():
        if name not in dataset:
            if variable.required:
                raise DataError(
                    f"{source}: variable '{name}' ({variable.description}) is missing; a {kind} file needs "
                    f"{_wanted(schema[kind])}, and this one has {', '.join(map(str, dataset.data_vars)) or 'none'}"
                )
            continue
        found = dataset[name]
        expected = dims(kind, name, grid_size(found), schema)
        if found.dims != expected:
            raise DataError(
                f"{source}: '{name}' has dimensions {_tuple(found.dims)}; the schema asks for {_tuple(expected)}; "
                "transpose or rename them"
            )
        if not np.issubdtype(found.dtype, np.number):
            raise DataError(f"{source}: '{name}' holds {found.dtype}, not numbers; write it as float")
        if 0 in found.shape:
            empty = ", ".join(str(d) for d, n in zip(found.dims, found.shape, strict=True) if n == 0)
            raise DataError(f"{source}: '{name}' is empty along {empty}; give it at least one entry")
    return dataset


def _wanted(variables: Mapping[str, Variable]) -> str:
    """The variables that a kind of file must have."""
    return ", ".join(name for name, variable in variables.items() if variable.required)


def _tuple(names: tuple) -> str:
    """Names in brackets."""
    return "(" + ", ".join(map(str, names)) + ")"
