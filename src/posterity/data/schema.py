"""The schema of the project's files: names, dimensions, checks. The only place that knows them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from ..errors import DataError

#: Names of the grid's dimensions, by their number.
GRIDS: Mapping[int, tuple[str, ...]] = {0: (), 1: ("x",), 2: ("y", "x")}

#: Prefix of the diagnostics of a method.
INFO = "info_"


@dataclass(frozen=True)
class Variable:
    """What a file says of one variable.

    Args:
        dims: Its leading dimensions; ``*`` stands for the dimensions of the grid.
        required: Whether a file must have it.
        description: What it is.
    """

    dims: tuple[str, ...]
    required: bool
    description: str


#: The scores of one method, but for the floors of distances.
_SCORES: Mapping[str, Variable] = {
    "mean": Variable(("case", "time", "channel", "*"), True, "mean of the draws"),
    "std": Variable(("case", "time", "channel", "*"), True, "standard deviation of the draws"),
    "rmse": Variable(("case", "time"), False, "root-mean-square error of the mean over channels and grid"),
    "spread": Variable(("case", "time"), False, "root-mean-square standard deviation over channels and grid"),
    "crps": Variable(("case", "time"), False, "fair continuous ranked probability score"),
    "energy_score": Variable(("case", "time"), False, "fair energy score of the state as one vector"),
    "variogram_score": Variable(("case", "time"), False, "variogram score of order one half"),
    "rank_histogram": Variable(("case", "time", "bin"), False, "number of entries with the truth in each bin"),
    "coverage": Variable(("case", "time", "level"), False, "fraction of entries inside the central interval"),
    "log_score": Variable(("case",), False, "minus the log-density of the truth"),
    "hpd_rank": Variable(("case",), False, "credibility of the region of highest density at whose edge the truth is"),
    "tarp_rank": Variable(("case",), False, "credibility of the ball at whose edge the truth is, at the window's end"),
    "predictive_coverage": Variable(("case", "level"), False, "fraction of new observations inside the interval"),
    "log_likelihood": Variable(("case",), False, "expected log-likelihood under the posterior"),
    "calibrated_log_likelihood": Variable(("case",), False, "its expectation for a calibrated posterior"),
    "samples": Variable(("case",), False, "number of draws"),
    "rank": Variable(("case", "time"), False, "rank of the truth among the draws, as a fraction, of one entry"),
    "parameter_mean": Variable(("case", "parameter"), False, "mean of the draws of the parameters"),
    "parameter_std": Variable(("case", "parameter"), False, "standard deviation of the draws of the parameters"),
    "parameter_error": Variable(("case", "parameter"), False, "absolute error of the mean"),
    "parameter_crps": Variable(("case", "parameter"), False, "fair continuous ranked probability score"),
    "parameter_rank": Variable(("case", "parameter"), False, "rank of the truth among the draws, as a fraction"),
    "parameter_coverage": Variable(("case", "parameter", "level"), False, "whether it is inside the central interval"),
    "mean_error": Variable(("case", "time"), False, "error of the mean, in standard deviations of the reference"),
    "std_error": Variable(("case", "time"), False, "relative error of the standard deviation"),
    "covariance_error": Variable(("case", "time"), False, "relative error of the covariance"),
    "sliced_wasserstein": Variable(("case", "time"), False, "sliced Wasserstein-1 distance to the reference"),
    "energy_distance": Variable(("case",), False, "squared energy distance to the reference, at the window's end"),
    "mmd": Variable(("case",), False, "squared maximum mean discrepancy, at the window's end"),
    "c2st": Variable(("case",), False, "accuracy of the classifier two-sample test, at the window's end"),
    "c2st_std": Variable(("case",), False, "its standard error"),
    "reference_gap": Variable(("case",), False, "largest gap between the means of runs of the reference"),
}

#: The distances to a reference, of which there is a floor: that of its runs to each other.
_DISTANCES = ("mean_error", "std_error", "covariance_error", "sliced_wasserstein", "energy_distance", "mmd", "c2st")

#: The scores of one method.
_METRICS: Mapping[str, Variable] = {
    **_SCORES,
    **{
        f"{name}_floor": replace(_SCORES[name], description=f"{_SCORES[name].description}, of its own runs")
        for name in _DISTANCES
    },
}

#: How well a network tells the truth from the draws of a method.
_CLASSIFIER: Mapping[str, Variable] = {
    "auc": Variable(("space",), True, "area under the curve, 0.5 if draws cannot be told from the truth"),
    "auc_std": Variable(("space",), True, "its standard error"),
    "true_positive_rate": Variable(("space", "false_positive_rate"), True, "the receiver operating characteristic"),
}

#: The scores of all methods, side by side.
_COMPARISON = {**_METRICS, **{name: replace(variable, required=False) for name, variable in _CLASSIFIER.items()}}

#: What the variants of an experiment tell of each training of each method.
_SCALING: Mapping[str, Variable] = {
    "log_score": Variable(("variant", "method", "seed"), True, "minus the log-density of the truth, mean over cases"),
    "auc": Variable(("variant", "method", "seed"), True, "area under the curve of the classifier in state space"),
    "crps": Variable(("variant", "method", "seed"), True, "fair CRPS at the window's end, mean over cases"),
    "sampling_seconds": Variable(("variant", "method", "seed"), True, "wall time per 1000 draws of a case"),
    "valid_loss": Variable(("variant", "method", "seed"), True, "best validation loss"),
    "training_seconds": Variable(("variant", "method", "seed"), True, "wall time of the training"),
    "parameters": Variable(("variant", "method", "seed"), True, "number of weights"),
    "published_log_score": Variable(("variant", "method"), True, "the log score that is published"),
    "size": Variable(("variant",), True, "number of entries of a state"),
    "window": Variable(("variant",), True, "number of assimilated states"),
}

#: Every kind of file, by the variables that it may hold. Other variables are left alone.
SCHEMA: Mapping[str, Mapping[str, Variable]] = {
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
    "metrics": _METRICS,
    "classifier": _CLASSIFIER,
    "comparison": {name: replace(v, dims=("method", *v.dims)) for name, v in _COMPARISON.items()},
    "scaling": _SCALING,
}

#: What every file says of where it comes from; experiment files of users' own data need none.
PROVENANCE = ("experiment", "method", "seed", "joint", "configuration", "version", "commit")


def dims(kind: str, variable: str, grid: int) -> tuple[str, ...]:
    """The dimensions of a variable.

    Args:
        kind: The kind of file: ``twin``, ``states``, ``posterior``, ``metrics``, ``classifier``, ``comparison``
            or ``scaling``.
        variable: The variable's name.
        grid: The number of grid dimensions.

    Returns:
        The names of the dimensions, in order.
    """
    names: list[str] = []
    for name in SCHEMA[kind][variable].dims:
        if name.endswith("*"):
            names += [name[:-1] + axis for axis in GRIDS[grid]]
        else:
            names.append(name)
    return tuple(names)


def grid_size(variable: xr.DataArray) -> int:
    """The number of grid dimensions of a state, a background or an observation."""
    return sum(str(name).removeprefix("obs_") in GRIDS[2] for name in variable.dims)


def check(dataset: xr.Dataset, kind: str, source: str) -> xr.Dataset:
    """Checks names, dimensions, types and provenance, before a write and after a read.

    Args:
        dataset: The dataset.
        kind: The kind of file.
        source: The file's name, for messages.

    Returns:
        The dataset itself.

    Raises:
        DataError: If a variable is missing, or has other dimensions or another type than the schema says.
    """
    for name, variable in SCHEMA[kind].items():
        if name not in dataset:
            if variable.required:
                raise DataError(
                    f"{source}: variable '{name}' ({variable.description}) is missing; a {kind} file needs "
                    f"{_wanted(kind)}, and this one has {', '.join(map(str, dataset.data_vars)) or 'none'}"
                )
            continue
        found = dataset[name]
        expected = dims(kind, name, grid_size(found))
        if found.dims != expected:
            raise DataError(
                f"{source}: '{name}' has dimensions {_tuple(found.dims)}; the schema asks for {_tuple(expected)}; "
                "transpose or rename them"
            )
        if not np.issubdtype(found.dtype, np.number):
            raise DataError(f"{source}: '{name}' holds {found.dtype}, not numbers")
        if 0 in found.shape:
            empty = ", ".join(str(d) for d, n in zip(found.dims, found.shape, strict=True) if n == 0)
            raise DataError(f"{source}: '{name}' is empty along {empty}")
    return dataset


def _wanted(kind: str) -> str:
    """The variables that a kind of file must have."""
    return ", ".join(name for name, variable in SCHEMA[kind].items() if variable.required)


def _tuple(names: tuple) -> str:
    """Names in brackets."""
    return "(" + ", ".join(map(str, names)) + ")"
