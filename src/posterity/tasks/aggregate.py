"""Rule ``aggregate``: all methods side by side."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from .. import data
from ..errors import DataError
from ..experiment import Experiment
from ..metrics import calibrated, summarize
from .provenance import attributes

#: Distances to the reference at each moment, and of each case, as the table names them.
TIMED: Mapping[str, str] = {
    "mean_error": "error of the mean to the reference",
    "std_error": "error of the standard deviation to the reference",
    "covariance_error": "error of the covariance to the reference",
    "sliced_wasserstein": "sliced Wasserstein distance",
}
TOTAL: Mapping[str, str] = {"energy_distance": "energy distance", "mmd": "MMD", "c2st": "C2ST"}

#: Scores of the state as a whole at each moment, and credible regions, as the table names them.
JOINT: Mapping[str, str] = {"energy_score": "energy score", "variogram_score": "variogram score"}
REGIONS: Mapping[str, str] = {"hpd": "by highest density", "tarp": "about random points"}

#: What only some methods have: without any, there are no columns for them.
OPTIONAL = (*TIMED, *TOTAL, *JOINT, "log_score", "predictive_coverage", *(f"{name}_coverage" for name in REGIONS))


def aggregate(
    experiment: Experiment, metrics: Sequence[Path], output: Path, table: Path, classifiers: Sequence[Path] = ()
) -> None:
    """Joins the metrics of all methods, and writes them with a table of their averages.

    Args:
        experiment: The experiment.
        metrics: The ``metrics`` files of all methods and chunks of cases; methods keep the order in which they
            first appear. The attribute ``method`` names them.
        output: The ``comparison`` file to write, with the leading dimension ``method``. What some method does not
            have (cases, iterations, bins, diagnostics) is NaN.
        table: The table to write, as comma-separated values, one row per method.
        classifiers: The ``classifier`` files of some of the methods.

    Raises:
        DataError: If a file cannot be read, does not name its method, or repeats cases of another.
    """
    joined = _join(_by_method(metrics))
    if classifiers:
        joined = joined.merge(_classified(classifiers, joined["method"]), join="left", combine_attrs="override")
    joined = joined.assign_attrs(attributes("aggregate", experiment))
    data.write(joined, output, "comparison")
    rows = _rows(summarize(joined, experiment.window, experiment.cycles, experiment.burn_in))
    with data.atomic(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _by_method(paths: Sequence[Path]) -> Mapping[str, xr.Dataset]:
    """The metrics of each method, its chunks of cases joined."""
    files: dict[str, list[Path]] = {}
    for path in paths:
        method = data.read(path, "metrics").attrs.get("method")
        if not method:
            raise DataError(f"{path}: has no attribute 'method', which names the method; add it, or make it again")
        files.setdefault(str(method), []).append(path)
    if not files:
        raise DataError("there are no metrics to aggregate; give at least one metrics file")
    datasets = {}
    for method, own in files.items():
        dataset = datasets[method] = data.read_many(own, "metrics")
        cases = dataset.get_index("case")
        if not cases.is_unique:
            raise DataError(
                f"{', '.join(map(str, own))}: case {cases[cases.duplicated()][0]} of method '{method}' appears more "
                "than once; give each chunk once"
            )
    return datasets


def _join(datasets: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """The methods side by side; of the attributes, those that all share."""
    joined = xr.concat(
        list(datasets.values()),
        dim=xr.Variable("method", np.array(list(datasets), dtype=object)),
        data_vars="all",
        coords="minimal",
        compat="override",
        join="outer",
        combine_attrs="drop_conflicts",
    )
    return joined.transpose("method", ...)


def _classified(paths: Sequence[Path], methods: xr.DataArray) -> xr.Dataset:
    """What classifiers tell of each method, NaN where there is none."""
    found = {str(dataset.attrs.get("method")): dataset for dataset in (data.read(path, "classifier") for path in paths)}
    if unknown := set(found) - set(methods.values):
        raise DataError(f"{paths[0]}: is of the method '{min(unknown)}', which has no metrics; give those too")
    joined = xr.concat(list(found.values()), dim=xr.Variable("method", np.array(list(found), dtype=object)))
    return joined.reindex({"method": methods})  # as a keyword, `method` would say how to fill


def _rows(summary: xr.Dataset) -> list[dict[str, str]]:
    """A row of the table for each method."""
    units = summary["spread"].attrs.get("units", "1")
    unit = "" if units == "1" else f" ({units})"
    # Without a reference there are no distances, nor columns for them; without a density no log scores, and so on.
    summary = summary.drop_vars([name for name in OPTIONAL if summary[name].isnull().all()])
    rows = []
    for method in summary["method"].values:
        own = summary.sel({"method": method})  # as a keyword, `method` would say how to look labels up
        row = {"method": str(method), "cases": _text(own["cases"], 1), "samples": _text(own["samples"], 1)}
        row["calibrated"] = "yes" if calibrated(own) else "no"
        for moment in own["moment"].values:
            at = own.sel(moment=moment)
            row |= _with_error(at, "rmse", f"RMSE, {moment}", unit)
            row[f"spread, {moment}{unit}"] = _text(at["spread"])
            row |= _with_error(at, "spread_skill", f"spread-skill ratio, {moment}")
            row |= _with_error(at, "crps", f"CRPS, {moment}", unit)
            for name, label in JOINT.items():
                row |= _with_error(at, name, f"{label}, {moment}", unit) if name in at else {}
            for level in at["level"].values:
                row[f"coverage of {100 * level:.0f} %, {moment} (%)"] = _text(100 * at["coverage"].sel(level=level), 3)
            row[f"p-value of uniform ranks, {moment}"] = _text(at["rank_uniformity"], 2)
            row |= _distances(at, TIMED, f", {moment}")
        row |= _with_error(own, "log_likelihood", "log-likelihood", " (nat)", 5)
        row["log-likelihood if calibrated (nat)"] = _text(own["calibrated_log_likelihood"], 5)
        row |= _with_error(own, "log_likelihood_gap", "log-likelihood gap", " (nat)")
        row |= _densities(own) | _distances(own, TOTAL, "") | _parameters(own)
        rows.append(
            row
            | {
                "wall time per case (s)": _text(own["seconds"], 3),
                "model steps per case": _text(own["model_steps"]),
                "gradients per case": _text(own["gradients"]),
                "failed draws per case": _text(own["failed"], 3),
            }
        )
    return rows


def _densities(summary: xr.Dataset) -> dict[str, str]:
    """What credible regions and classifiers say of the draws as a whole, and observations of their predictive."""
    columns = _with_error(summary, "log_score", "log score", " (nat)", 5) if "log_score" in summary else {}
    regions = {name: label for name, label in REGIONS.items() if f"{name}_coverage" in summary}
    for name, label in regions.items():
        columns |= _levels(summary[f"{name}_coverage"], label)
        columns[f"p-value of credibilities {label}"] = _text(summary[f"{name}_uniformity"], 2)
    if "predictive_coverage" in summary:
        columns |= _levels(summary["predictive_coverage"], "of new observations")
    for space in summary["space"].values if "auc" in summary else ():
        columns |= _with_error(summary.sel(space=space), "auc", f"AUC, {space}")
    return columns


def _levels(coverage: xr.DataArray, what: str) -> dict[str, str]:
    """The coverage of each level."""
    return {
        f"coverage of {100 * level:.0f} % {what} (%)": _text(100 * coverage.sel(level=level), 3)
        for level in coverage["level"].values
    }


def _distances(summary: xr.Dataset, names: Mapping[str, str], moment: str) -> dict[str, str]:
    """Distances to the reference and their floors, if there are any."""
    columns: dict[str, str] = {}
    for name, label in names.items():
        if name in summary:
            columns |= _with_error(summary, name, label + moment)
        if f"{name}_floor" in summary:
            columns[f"{label} between runs of the reference{moment}"] = _text(summary[f"{name}_floor"])
    return columns


def _parameters(summary: xr.Dataset) -> dict[str, str]:
    """Scores of each parameter, if there are any."""
    columns: dict[str, str] = {}
    if "parameter_error" in summary:
        for parameter in summary["parameter"].values:
            own = summary.sel(parameter=parameter)
            columns |= _with_error(own, "parameter_error", f"error of {parameter}")
            columns[f"standard deviation of {parameter}"] = _text(own["parameter_std"])
            columns |= _with_error(own, "parameter_crps", f"CRPS of {parameter}")
            for level in own["level"].values:
                share = 100 * own["parameter_coverage"].sel(level=level)
                columns[f"coverage of {100 * level:.0f} % of {parameter} (%)"] = _text(share, 3)
            columns[f"p-value of uniform ranks of {parameter}"] = _text(own["parameter_rank_uniformity"], 2)
    return columns


def _with_error(summary: xr.Dataset, name: str, label: str, unit: str = "", digits: int = 4) -> dict[str, str]:
    """A score and its standard error."""
    what, _, where = label.partition(", ")
    error = f"{what} standard error" + (f", {where}" if where else "")
    return {f"{label}{unit}": _text(summary[name], digits), f"{error}{unit}": _text(summary[f"{name}_error"], 2)}


def _text(value: xr.DataArray, digits: int = 4) -> str:
    """A number with some significant digits, never fewer than its integer part has; empty if missing."""
    number = float(value)
    if not np.isfinite(number):
        return "" if np.isnan(number) else str(number)
    magnitude = int(np.floor(np.log10(abs(number)))) if number else 0
    return f"{number:.{max(0, digits - 1 - magnitude)}f}"
