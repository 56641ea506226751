"""Rule ``aggregate``: all methods side by side."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from .. import data
from ..errors import DataError
from ..metrics import summarize


def aggregate(metrics: Sequence[Path], output: Path, table: Path, window: int) -> None:
    """Joins the metrics of all methods, and writes them with a table of their averages.

    Args:
        metrics: The ``metrics`` files of all methods and chunks of cases; methods keep the order in which they
            first appear. The attribute ``method`` names them.
        output: The ``comparison`` file to write, with the leading dimension ``method``. What some method does not
            have (cases, iterations, bins, diagnostics) is NaN.
        table: The table to write, as comma-separated values, one row per method.
        window: The number of assimilated states.

    Raises:
        DataError: If a file cannot be read, does not name its method, or repeats cases of another.
    """
    joined = _join(_by_method(metrics))
    data.write(joined, output, "comparison")
    rows = _rows(summarize(joined, window))
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


def _rows(summary: xr.Dataset) -> list[dict[str, str]]:
    """A row of the table for each method."""
    units = summary["spread"].attrs.get("units", "1")
    unit = "" if units == "1" else f" ({units})"
    rows = []
    for method in summary["method"].values:
        own = summary.sel({"method": method})  # as a keyword, `method` would say how to look labels up
        row = {"method": str(method), "cases": _text(own["cases"], 1), "samples": _text(own["samples"], 1)}
        for moment in own["moment"].values:
            at = own.sel(moment=moment)
            row |= {
                f"RMSE, {moment}{unit}": _text(at["rmse"]),
                f"RMSE standard error, {moment}{unit}": _text(at["rmse_error"], 2),
                f"spread, {moment}{unit}": _text(at["spread"]),
                f"spread-skill ratio, {moment}": _text(at["spread_skill"]),
                f"spread-skill ratio standard error, {moment}": _text(at["spread_skill_error"], 2),
                f"CRPS, {moment}{unit}": _text(at["crps"]),
                f"CRPS standard error, {moment}{unit}": _text(at["crps_error"], 2),
            }
            for level in at["level"].values:
                row[f"coverage of {100 * level:.0f} %, {moment} (%)"] = _text(100 * at["coverage"].sel(level=level), 3)
        rows.append(
            row
            | {
                "log-likelihood (nat)": _text(own["log_likelihood"], 5),
                "log-likelihood standard error (nat)": _text(own["log_likelihood_error"], 2),
                "log-likelihood if calibrated (nat)": _text(own["calibrated_log_likelihood"], 5),
                "wall time per case (s)": _text(own["seconds"], 3),
                "model steps per case": _text(own["model_steps"]),
                "gradients per case": _text(own["gradients"]),
                "failed draws per case": _text(own["failed"], 3),
            }
        )
    return rows


def _text(value: xr.DataArray, digits: int = 4) -> str:
    """A number with some significant digits, never fewer than its integer part has; empty if missing."""
    number = float(value)
    if not np.isfinite(number):
        return "" if np.isnan(number) else str(number)
    magnitude = int(np.floor(np.log10(abs(number)))) if number else 0
    return f"{number:.{max(0, digits - 1 - magnitude)}f}"
