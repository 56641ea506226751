"""Rule ``evaluate``: one posterior against the truth, and against the reference."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from ..data import SCORES, read, write
from ..data.times import Clock, on_steps
from ..errors import DataError
from ..experiment import Experiment
from ..metrics import evaluate as scores_of
from .files.provenance import origin

log = logging.getLogger("posterity")

#: The largest gap between runs of a reference, in standard deviations, and the largest R-hat, to judge methods by it.
GAP, RHAT = 0.3, 1.05


def evaluate(
    experiment: Experiment,
    twin: Path,
    posterior: Path,
    output: Path,
    reference: Path | None = None,
    compute: Callable[[xr.Dataset, xr.DataArray], xr.Dataset] | None = None,
) -> None:
    """Scores a posterior and writes a ``metrics`` file, with the provenance and the cost of the posterior.

    At the last assimilated state, states are tested as one vector, and held against the reference.

    Everything streams: each chunk of the posterior is read once, and few are in memory at a time.

    Args:
        experiment: The experiment.
        twin: A ``twin`` file; without a ``state``, the scores against the truth are left out.
        posterior: A ``posterior`` file of some or all of its cases, at some or all of its times.
        output: The ``metrics`` file to write.
        reference: A ``posterior`` file of the reference, with all cases and times of the posterior and maybe more.
        compute: Hands over the lazy scores to others, which compute them, given the draws (see
            :class:`posterity.tasks.nodes.blocks.Workers`); threads of this process if omitted.

    Raises:
        DataError: If a file cannot be read, or they do not belong together.
    """
    truth, draws = read(twin, "twin"), read(posterior, "posterior")
    clock = Clock.of(draws)
    if clock is not None:
        truth = on_steps(truth, clock, experiment.time_tolerance, str(twin))
    truth = truth.isel(case=_positions(truth, draws, "case", (posterior, twin)))
    truth = truth.assign_coords(case=draws["case"])
    _check_parameters(truth, draws, (posterior, twin))
    length = experiment.length if clock is None else clock.states - experiment.forecast
    held, end = None, None
    if "state" in truth:
        _check_entries(truth, draws, (posterior, twin))
        end = _end(_positions(truth, draws, "time", (posterior, twin)), length)
        # Methods see entries by position, whatever the twin calls them: the names and sites are those of the posterior.
        truth = truth.drop_vars(["channel", "y", "x"], errors="ignore")
    draws = draws.assign_coords(time=_same_times(truth, draws))
    if reference is not None:
        held, end = _reference(reference, draws, length, posterior)
    scored = scores_of(truth, draws, held, end)
    if compute is not None:
        scored = compute(scored, draws["state"])
    # Chunks are computed side by side: threads of each in addition would wait for each other.
    with threadpool_limits(1):
        scored = _with_coordinates(_at_all_times(scored, truth), draws)
        made = origin("evaluate", experiment, str(draws.attrs.get("method", "")))
        write(scored.assign_attrs(draws.attrs | made), output, "metrics", SCORES)


def _reference(path: Path, posterior: xr.Dataset, length: int, source: Path) -> tuple[xr.Dataset, int | None]:
    """The reference of a posterior's cases and times, and the place of the window's end among these."""
    reference = read(path, "posterior")
    _check_entries(reference, posterior, (source, path))
    _check_parameters(reference, posterior, (source, path))
    cases = _positions(reference, posterior, "case", (source, path))
    times = _positions(reference, posterior, "time", (source, path))
    reference = reference.isel(case=cases, time=times).assign_coords(case=posterior["case"], time=posterior["time"])
    _warn(reference, path)
    return reference, _end(times, length)


def _end(times: np.ndarray, length: int) -> int | None:
    """The place of the window's end among the times of a posterior; None if it is not among them."""
    found = np.flatnonzero(times == length - 1)
    return int(found[0]) if len(found) else None


def _warn(reference: xr.Dataset, path: Path) -> None:
    """Says in how many cases a reference is too poor to judge methods by."""
    poor = np.zeros(reference.sizes["case"], dtype=bool)
    for name, most in (("info_gap", GAP), ("info_rhat", RHAT)):
        if name in reference:
            worst = reference[name].max([dim for dim in reference[name].dims if dim != "case"], skipna=False)
            # What is unknown (NaN) is no better: a run that failed, or chains that never moved.
            poor |= ~(worst.to_numpy() <= most)
    if poor.any():
        log.warning(
            "%s: is too poor to judge methods by in %d of %d cases: runs differ by more than %g standard deviations, "
            "or R-hat is above %g, or one of them is unknown (NaN); make the runs of the reference longer",
            *(path, poor.sum(), poor.size, GAP, RHAT),
        )


def _check_entries(whole: xr.Dataset, posterior: xr.Dataset, sources: tuple[Path, Path]) -> None:
    """Raises if states have other sizes than those of the posterior."""
    for name in ("channel", "y", "x"):
        sizes = [str(dataset["state"].sizes.get(name, "none")) for dataset in (posterior, whole)]
        if sizes[0] != sizes[1]:
            raise DataError(f"{sources[0]} and {sources[1]}: differ along '{name}': {' and '.join(sizes)} entries")


def _check_parameters(whole: xr.Dataset, posterior: xr.Dataset, sources: tuple[Path, Path]) -> None:
    """Raises if parameters have other names than those of the posterior."""
    if "theta" not in posterior or "theta" not in whole or "parameter" not in whole.coords:
        return
    own, others = (_names(dataset) for dataset in (posterior, whole))
    if own != others:
        raise DataError(
            f"{sources[0]} and {sources[1]}: differ in their parameters, {', '.join(own)} and {', '.join(others)}; "
            "name them alike, or make both from one experiment"
        )


def _positions(whole: xr.Dataset, posterior: xr.Dataset, name: str, sources: tuple[Path, Path]) -> np.ndarray:
    """The places of a posterior's cases, or times, in its twin or its reference."""
    clock = _shared_clock(whole, posterior)
    found, wanted = _labels(posterior, name, clock), _labels(whole, name, clock)
    for source, labels in zip(sources, (found, wanted), strict=True):
        if len(set(labels)) < len(labels):
            raise DataError(f"{source}: '{name}' holds labels more than once: {_some(labels)}; each must be unique")
    place = {label: position for position, label in enumerate(wanted)}
    if strange := [label for label in found if label not in place]:
        raise DataError(
            f"{sources[0]} and {sources[1]}: do not belong together: '{name}' {_some(strange)} of the former "
            f"{'is' if len(strange) == 1 else 'are'} not in the latter, which has {_some(wanted)}; "
            "make one of them again, from the same twin as the other"
        )
    return np.array([place[label] for label in found])


def _same_times(twin: xr.Dataset, posterior: xr.Dataset) -> np.ndarray:
    """The times of a posterior, as exactly as the twin says them: files hold them in single or double precision."""
    own = posterior.get_index("time").to_numpy()
    if "time" not in twin.coords:
        return own
    clock = _shared_clock(twin, posterior)
    exact = dict(zip(_labels(twin, "time", clock), twin["time"].to_numpy(), strict=True))
    return np.array([exact.get(label, t) for label, t in zip(_labels(posterior, "time", clock), own, strict=True)])


def _shared_clock(whole: xr.Dataset, posterior: xr.Dataset) -> Clock | None:
    """The clock of a posterior; None if its twin or its reference has none, as files of others."""
    return None if Clock.of(whole) is None else Clock.of(posterior)


def _at_all_times(scored: xr.Dataset, twin: xr.Dataset) -> xr.Dataset:
    """Scores at all times of the twin, NaN where the posterior has none: all methods then share their times."""
    if "time" not in twin.coords:
        return scored
    known = scored.get_index("time")
    every = twin.get_index("time").union(known)
    if not every.equals(known):
        scored = scored.reindex(time=every)
    return scored.assign_coords(time=scored["time"].assign_attrs(twin["time"].attrs))


def _with_coordinates(scored: xr.Dataset, posterior: xr.Dataset) -> xr.Dataset:
    """Scores with the coordinates of the posterior that they have lost: those along no dimension of a score."""
    lost = {name: c for name, c in posterior.coords.items() if name not in scored.coords and "sample" not in c.dims}
    return scored.assign_coords({name: c for name, c in lost.items() if "time" not in c.dims})


def _names(posterior: xr.Dataset) -> list[str]:
    """The names of the parameters."""
    return [str(name) for name in posterior["parameter"].values]


def _labels(dataset: xr.Dataset, name: str, clock: Clock | None) -> list:
    """The labels of a dimension; times are numbers of states, or rounded, since files hold them in either precision."""
    labels = dataset.get_index(name).to_numpy()
    if name != "time":
        return labels.tolist()
    return (labels.astype(float).round(6) if clock is None else clock.steps(labels)).tolist()


def _some(labels: list) -> str:
    """A few labels for a message: ``0, 1, 2, …, 9``."""
    return ", ".join(map(str, labels if len(labels) <= 4 else [*labels[:3], "…", labels[-1]]))
