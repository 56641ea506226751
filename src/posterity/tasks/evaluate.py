"""Rule ``evaluate``: one posterior against the truth."""

from pathlib import Path

import numpy as np
import xarray as xr

from .. import data, metrics
from ..errors import DataError


def evaluate(twin: Path, posterior: Path, output: Path) -> None:
    """Scores a posterior and writes a ``metrics`` file, with the provenance and the cost of the posterior.

    Everything streams: each piece of the posterior is read once, and few are in memory at a time.

    Args:
        twin: A ``twin`` file; without a ``state``, the scores against the truth are left out.
        posterior: A ``posterior`` file of some or all of its cases, at some or all of its times.
        output: The ``metrics`` file to write.

    Raises:
        DataError: If a file cannot be read, or the two do not belong together.
    """
    truth, draws = data.read(twin, "twin"), data.read(posterior, "posterior")
    truth = truth.isel(case=_positions(truth, draws, "case", f"{posterior} and {twin}"))
    truth = truth.assign_coords(case=draws["case"])
    if "state" in truth:
        scored = _against_truth(truth, draws, f"{posterior} and {twin}")
    else:
        scored = metrics.evaluate(truth, draws)
    data.write(scored.assign_attrs(draws.attrs), output, "metrics")


def _against_truth(twin: xr.Dataset, posterior: xr.Dataset, sources: str) -> xr.Dataset:
    """Scores a posterior, with NaN at the times of the twin that it does not cover."""
    for name in ("channel", "y", "x"):
        found, wanted = posterior["state"].sizes.get(name), twin["state"].sizes.get(name)
        if found != wanted:
            raise DataError(f"{sources}: differ along '{name}': {found or 'none'} and {wanted or 'none'} entries")
    # Methods see entries by position, whatever the twin calls them: the names and sites are those of the posterior.
    twin = twin.drop_vars(["channel", "y", "x"], errors="ignore")
    covered = _positions(twin, posterior, "time", sources)
    posterior = posterior.assign_coords(time=twin["time"][covered])
    scored = metrics.evaluate(twin, posterior)
    return scored if len(covered) == twin.sizes["time"] else scored.reindex(time=twin["time"])


def _positions(twin: xr.Dataset, posterior: xr.Dataset, name: str, sources: str) -> np.ndarray:
    """Where the cases, or the times, of a posterior stand in its twin."""
    found, wanted = _labels(posterior, name), _labels(twin, name)
    place = {label: position for position, label in enumerate(wanted)}
    for labels in (found, wanted):
        if len(set(labels)) < len(labels):
            raise DataError(f"{sources}: '{name}' holds labels more than once: {_some(labels)}; each must be unique")
    if strange := [label for label in found if label not in place]:
        raise DataError(
            f"{sources}: do not belong together: '{name}' {_some(strange)} of the posterior "
            f"{'is' if len(strange) == 1 else 'are'} not in the twin, which has {_some(wanted)}; "
            "make the posterior again from this twin, or give the twin that it was made from"
        )
    return np.array([place[label] for label in found])


def _labels(dataset: xr.Dataset, name: str) -> list:
    """The labels of a dimension; times are rounded, since files hold them in single or double precision."""
    labels = dataset.get_index(name).to_numpy()
    return (labels.astype(float).round(6) if name == "time" else labels).tolist()


def _some(labels: list) -> str:
    """A few labels for a message: ``0, 1, 2, …, 9``."""
    return ", ".join(map(str, labels if len(labels) <= 4 else [*labels[:3], "…", labels[-1]]))
