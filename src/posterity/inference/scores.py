"""Scores of draws against the truth and a reference, of datasets that are held to belong together. Imports no torch."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr

from ..data.times import Clock, on_steps
from ..errors import DataError
from ..metrics import evaluate

log = logging.getLogger("posterity")

#: The largest gap between runs of a reference, in standard deviations, and the largest R-hat, to judge methods by it.
GAP, RHAT = 0.3, 1.05


class Sources(NamedTuple):
    """What messages call datasets: by names, or by files."""

    twin: str = "twin"
    posterior: str = "posterior"
    reference: str = "reference"


def scored(
    twin: xr.Dataset,
    posterior: xr.Dataset,
    reference: xr.Dataset | None,
    length: int,
    tolerance: float,
    sources: Sources,
    compute: Callable[[xr.Dataset, xr.DataArray], xr.Dataset] | None = None,
) -> xr.Dataset:
    """Scores a posterior; lazily, if it is lazy.

    At the last assimilated state, states are tested as one vector, and held against the reference.

    Args:
        twin: A ``twin`` dataset; without a ``state``, the scores against the truth are left out.
        posterior: A ``posterior`` dataset of some or all of its cases, at some or all of its times.
        reference: A ``posterior`` dataset of the reference, with all cases and times of the posterior and maybe more.
        length: The number of assimilated states.
        tolerance: The share of a step by which times of the twin may be off a state.
        sources: What messages call the three.
        compute: Hands over the lazy scores to others, which compute them, given the draws.

    Returns:
        A ``metrics`` dataset, with the attributes of the posterior.

    Raises:
        DataError: If they do not belong together.
    """
    truth, draws, between = twin, posterior, (sources.posterior, sources.twin)
    clock = Clock.of(draws)
    if clock is not None:
        truth = on_steps(truth, clock, tolerance, sources.twin)
    truth = truth.isel(case=_positions(truth, draws, "case", between))
    truth = truth.assign_coords(case=draws["case"])
    _check_parameters(truth, draws, between)
    held, end = None, None
    if "state" in truth:
        _check_entries(truth, draws, between)
        end = _end(_positions(truth, draws, "time", between), length)
        # Methods see entries by position, whatever the twin calls them: the names and sites are those of the posterior.
        truth = truth.drop_vars(["channel", "y", "x"], errors="ignore")
    draws = draws.assign_coords(time=_same_times(truth, draws))
    if reference is not None:
        held, end = _reference(reference, draws, length, (sources.posterior, sources.reference))
    found = evaluate(truth, draws, held, end)
    if compute is not None:
        found = compute(found, draws["state"])
    return _with_coordinates(_at_all_times(found, truth), draws).assign_attrs(draws.attrs)


def _reference(
    reference: xr.Dataset, posterior: xr.Dataset, length: int, sources: tuple[str, str]
) -> tuple[xr.Dataset, int | None]:
    """The reference of a posterior's cases and times, and the place of the window's end among these."""
    _check_entries(reference, posterior, sources)
    _check_parameters(reference, posterior, sources)
    cases = _positions(reference, posterior, "case", sources)
    times = _positions(reference, posterior, "time", sources)
    reference = reference.isel(case=cases, time=times).assign_coords(case=posterior["case"], time=posterior["time"])
    _warn(reference, sources[1])
    return reference, _end(times, length)


def _end(times: np.ndarray, length: int) -> int | None:
    """The place of the window's end among the times of a posterior; None if it is not among them."""
    found = np.flatnonzero(times == length - 1)
    return int(found[0]) if len(found) else None


def _warn(reference: xr.Dataset, source: str) -> None:
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
            *(source, poor.sum(), poor.size, GAP, RHAT),
        )


def _check_entries(whole: xr.Dataset, posterior: xr.Dataset, sources: tuple[str, str]) -> None:
    """Raises if states have other sizes than those of the posterior."""
    for name in ("channel", "y", "x"):
        sizes = [str(dataset["state"].sizes.get(name, "none")) for dataset in (posterior, whole)]
        if sizes[0] != sizes[1]:
            raise DataError(f"{sources[0]} and {sources[1]}: differ along '{name}': {' and '.join(sizes)} entries")


def _check_parameters(whole: xr.Dataset, posterior: xr.Dataset, sources: tuple[str, str]) -> None:
    """Raises if parameters have other names than those of the posterior."""
    if "theta" not in posterior or "theta" not in whole or "parameter" not in whole.coords:
        return
    own, others = (_names(dataset) for dataset in (posterior, whole))
    if own != others:
        raise DataError(
            f"{sources[0]} and {sources[1]}: differ in their parameters, {', '.join(own)} and {', '.join(others)}; "
            "name them alike, or make both from one experiment"
        )


def _positions(whole: xr.Dataset, posterior: xr.Dataset, name: str, sources: tuple[str, str]) -> np.ndarray:
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
