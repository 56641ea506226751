"""Rule ``aggregate``: all methods side by side."""

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import xarray as xr

from ..data import SCORES, along_cases, along_methods, atomic, read, write
from ..errors import DataError
from ..experiment import Experiment
from ..experiment.experiment import PROBLEM
from ..metrics import judge, rows, summarize
from .files.provenance import origin
from .files.verdict import keep

log = logging.getLogger("posterity")

#: The keys of an experiment that scores depend on, by way of what they are made from; so do the methods of the file.
SETTINGS = (*PROBLEM, "truth", "seed", "samples", "reference")

#: The column of a table, and the attribute of the scores, that name the logs of methods that failed.
FAILED = "failed"


def aggregate(
    experiment: Experiment,
    metrics: Sequence[Path],
    output: Path,
    table: Path,
    classifiers: Sequence[Path] = (),
    failed: Mapping[str, str] = MappingProxyType({}),
    verdict: Path | None = None,
) -> None:
    """Joins the metrics of all methods, and writes them with a table of their averages, and with a verdict.

    Args:
        experiment: The experiment.
        metrics: The ``metrics`` files of all methods and chunks of cases; methods keep the order in which they
            first appear. The attribute ``method`` names them.
        output: The ``comparison`` file to write, with the leading dimension ``method``. What some method does not
            have (cases, iterations, bins, diagnostics) is NaN.
        table: The table to write, as comma-separated values, one row per method.
        classifiers: The ``classifier`` files of some of the methods.
        failed: The logs of methods that failed, by their names: the table has a row for each, that names its log.
        verdict: The verdict to write (JSON); None for none.

    Raises:
        DataError: If a file cannot be read, does not name its method, or repeats cases of another.
    """
    joined = along_methods(_by_method(metrics))
    if classifiers:
        joined = joined.merge(_classified(classifiers, joined["method"]), join="left", combine_attrs="override")
    left = experiment.without(failed, reference=experiment.reference is not None)
    settings = json.dumps(left.slice(*SETTINGS))
    joined = joined.assign_attrs(origin("aggregate", left), experiment_configuration=settings)
    if failed:
        joined.attrs[FAILED] = json.dumps(failed)
    write(joined, output, "comparison", SCORES)
    cycles = experiment.cycles_in(joined.sizes["time"])
    summary = summarize(joined, experiment.window, cycles, experiment.burn_in)
    lines = rows(summary)
    if failed:
        lines = _with_failed(lines, failed, list(experiment.methods))
    with atomic(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    log.info("%s: written", table)
    if verdict is not None:
        keep(judge(joined, experiment.window, cycles, experiment.burn_in, list(failed), summary), verdict)
        log.info("%s: written", verdict)


def _with_failed(
    lines: Sequence[dict[str, str]], failed: Mapping[str, str], order: Sequence[str]
) -> list[dict[str, str]]:
    """The rows of a table with a row for each method that failed, in the order of the methods of the experiment."""
    found = {line["method"]: {**line, FAILED: ""} for line in lines}
    empty = dict.fromkeys(next(iter(found.values())), "")
    found |= {name: {**empty, "method": name, FAILED: f"see {log}"} for name, log in failed.items()}
    places = {name: place for place, name in enumerate(order)}
    return sorted(found.values(), key=lambda line: places.get(line["method"], len(places)))


def _by_method(paths: Sequence[Path]) -> Mapping[str, xr.Dataset]:
    """The metrics of each method, its chunks of cases joined."""
    files: dict[str, dict[Path, xr.Dataset]] = {}
    for path in paths:
        part = read(path, "metrics", SCORES)
        method = part.attrs.get("method")
        if not method:
            raise DataError(f"{path}: has no attribute 'method', which names the method; add it, or make it again")
        files.setdefault(str(method), {})[path] = part
    if not files:
        raise DataError("there are no metrics to aggregate; give at least one metrics file")
    datasets = {}
    for method, own in files.items():
        dataset = datasets[method] = along_cases(list(own.values()))
        cases = dataset.get_index("case")
        if not cases.is_unique:
            raise DataError(
                f"{', '.join(map(str, own))}: case {cases[cases.duplicated()][0]} of method '{method}' appears more "
                "than once; give each chunk once"
            )
    return datasets


def _classified(paths: Sequence[Path], methods: xr.DataArray) -> xr.Dataset:
    """The classifiers of all methods, NaN for those that have none."""
    found = {
        str(dataset.attrs.get("method")): dataset for dataset in (read(path, "classifier", SCORES) for path in paths)
    }
    if unknown := set(found) - set(methods.values):
        raise DataError(f"{paths[0]}: is of the method '{min(unknown)}', which has no metrics; give those too")
    joined = xr.concat(list(found.values()), dim=xr.Variable("method", np.array(list(found), dtype=object)))
    return joined.reindex({"method": methods})  # as a keyword, `method` would say how to fill
