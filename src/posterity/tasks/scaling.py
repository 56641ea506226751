"""``posterity scaling``: scores and costs of all methods against the size of the problem."""

import csv
import json
import logging
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import xarray as xr

from .. import __version__
from ..data import SCORES, TRAININGS, apart, atomic, read, write
from ..data.artifacts import description
from ..errors import ConfigError
from ..experiment import Experiment
from ..experiment.dependencies import dependencies
from ..figures.scaling import scaling as draw
from ..metrics import COVERED, judged_moment, summarize
from ..metrics.scores import ENTRIES
from .files.provenance import CONVENTIONS
from .plot import formats, save

log = logging.getLogger("posterity")

#: The keys of the description of a training, by the names of the variables.
TRAINING = {"valid_loss": "best_valid_loss", "training_seconds": "seconds", "parameters": "parameters"}


def scaling(experiments: Sequence[Experiment], results: Path, output: Path, table: Path, figure: Path) -> None:
    """Sets the variants of an experiment file beside each other, in a dataset, a table and a figure.

    The trainings of a group of methods are its seeds. What a method does not have is NaN.

    Args:
        experiments: The variants.
        results: The folder of the results of all experiments.
        output: The ``scaling`` file to write.
        table: The table to write, as comma-separated values, one row per training.
        figure: The figure to write, see :func:`posterity.tasks.plot.formats`.

    Raises:
        ConfigError: If there are no variants to compare.
        DataError: If the results of a variant are missing or damaged.
    """
    variants = [results / experiment.name / "metrics.nc" for experiment in experiments]
    apart([output, table, *formats(figure)], variants)
    if len(experiments) < 2:
        raise ConfigError(f"{experiments[0].name}: has no variants to compare; write them under 'variants'")
    parts = [_variant(experiment, results / experiment.name) for experiment in experiments]
    names = [experiment.name.rpartition("/")[2] for experiment in experiments]
    variant = xr.Variable("variant", names)
    joined = xr.concat(parts, dim=variant, data_vars="all", join="outer", combine_attrs="override")
    # The outer join has sorted the methods.
    joined = joined.sel({"method": list(dict.fromkeys(str(name) for part in parts for name in part["method"].values))})
    # The variants differ in their configuration, and share their code.
    code = dependencies("scaling", experiments[0]).modules
    study = experiments[0].name.rpartition("/")[0]
    made = {"experiment": study, "code": json.dumps(code), "version": __version__}
    joined.attrs = made | {
        "Conventions": CONVENTIONS,
        "title": f"{experiments[0].title}: {', '.join(names)}",
        "history": f"posterity {__version__}: scaling of {study}",
    }
    joined = joined.set_coords(("size", "window"))
    write(joined, output, "scaling", SCORES)
    with atomic(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["variant", "size", "window", "method", "seed", *TRAININGS, "published_log_score"])
        writer.writerows(_rows(joined))
    log.info("%s: written", table)
    save(draw(joined), figure, json.dumps({"code": code}))


def _variant(experiment: Experiment, folder: Path) -> xr.Dataset:
    """All methods of one variant, by group and seed."""
    metrics = read(folder / "metrics.nc", "comparison", SCORES)
    summary = summarize(metrics, experiment.window, experiment.cycles, experiment.burn_in)
    groups: dict[str, list[str]] = {}
    for name, group in experiment.groups().items():
        if name in metrics["method"]:  # of those that failed there are none
            groups.setdefault(group, []).append(name)
    shape = len(groups), max(map(len, groups.values()))
    values = {name: np.full(shape, np.nan) for name in TRAININGS}
    published = np.full(len(groups), np.nan)
    parameters = list(experiment.parameters) if "parameter_coverage" in summary else []
    coverage = np.full((*shape, len(parameters)), np.nan)
    for row, members in enumerate(groups.values()):
        for seed, name in enumerate(members):
            own = summary.sel({"method": name})
            if parameters:
                coverage[row, seed] = own["parameter_coverage"].sel(level=COVERED)
            found = _scores(own) | (_training(folder / "models" / name) if name in experiment.trained() else {})
            for key, number in found.items():
                values[key][row, seed] = number
            if (value := experiment.methods[name].published_log_score) is not None:
                published[row] = value
    dims = ("method", "seed")
    state = summary["crps"].attrs.get("units", "1")
    variables: dict = {
        name: (dims, values[name], {"long_name": text, "units": units.of(state)})
        for name, (text, units) in TRAININGS.items()
    }
    if parameters:
        label = {"long_name": f"coverage of {COVERED:.0%} of parameters", "units": "1"}
        variables["parameter_coverage"] = ((*dims, "parameter"), coverage, label)
    size = prod(length for name, length in metrics["mean"].sizes.items() if name in ENTRIES)
    return xr.Dataset(
        {
            **variables,
            "published_log_score": ("method", published, {"long_name": "published log score", "units": "nat"}),
            "size": ((), size, {"long_name": "number of entries of a state", "units": "1"}),
            "window": ((), experiment.window, {"long_name": "number of assimilated states", "units": "1"}),
        },
        {"method": list(groups), "seed": np.arange(shape[1])} | ({"parameter": parameters} if parameters else {}),
    )


def _scores(summary: xr.Dataset) -> dict[str, float]:
    """The scores of a method, and its cost."""
    at = summary.sel(moment=judged_moment(summary))
    found = {name: at[name] for name in ("log_score", "log_score_error", "crps", "crps_error")}
    if "auc" in summary:
        found |= {name: summary[name].sel(space="state") for name in ("auc", "auc_error")}
    found["sampling_seconds"] = 1000 * summary["seconds"] / summary["samples"]
    return {name: float(value) for name, value in found.items()}


def _training(folder: Path) -> dict[str, float]:
    """The numbers in the description of a training."""
    found = description(folder, TRAINING.values())
    return {name: float(found[key]) for name, key in TRAINING.items()}


def _rows(scaling: xr.Dataset) -> list[list[str]]:
    """A row of the table for each training, and for each method that is not trained."""
    rows = []
    for variant in scaling["variant"].values:
        for method in scaling["method"].values:
            for seed in scaling["seed"].values:
                own = scaling.sel({"variant": variant, "method": method, "seed": seed})
                numbers = [float(own[name]) for name in (*TRAININGS, "published_log_score")]
                if not np.isnan(numbers[:-1]).all():
                    names = [variant, int(own["size"]), int(own["window"]), method, int(seed) + 1]
                    rows.append([*map(str, names), *("" if np.isnan(n) else f"{n:.6g}" for n in numbers)])
    return rows
