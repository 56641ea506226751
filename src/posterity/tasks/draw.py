"""Draws of every case of a twin file by any method, as ``assimilate``, ``sample`` and ``reference`` share them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ..data import read, write
from ..data.coordinates import check_coordinates, coordinates_of
from ..data.missing import suspects
from ..data.tensors import ensemble_dataset, truth_of, window_of
from ..data.times import Lengths, placed
from ..errors import ConfigError, DataError
from ..experiment import Experiment
from ..problems import (
    Ensemble,
    Posterior,
    Problem,
    Twin,
    Window,
    log_likelihood,
    model_residual,
    predictive_pit,
    transition_gap,
)
from ..rules import obey
from ..tensors import append_dims
from .common import device_name, log, peak_memory, provenance, seed_everything

#: The share of a background by which rounding of files and transforms may change it.
ROUNDING = 1e-4
#: Draws of the joint that values of a file are held against, and how many times their range a value is absurd beyond.
HELD, ABSURD = 64, 10.0


class Observed(NamedTuple):
    """Observations of a file, as methods take them, and what belongs to them.

    Args:
        problem: The problem, with as many windows as the file has.
        window: What a method may see.
        cases: The numbers, or names, of the cases.
        truth: The draws of the joint that the windows belong to, if the file has them.
        coordinates: The coordinates that draws take over.
    """

    problem: Problem
    window: Window
    cases: np.ndarray
    truth: Twin | None
    coordinates: Mapping[str, xr.Variable]


def draw(
    stage: str,
    experiment: Experiment,
    name: str,
    method: Posterior,
    observed: Observed,
    output: Path,
    samples: int | None,
    device: torch.device,
    density: Callable[[Twin], Tensor] | None = None,
) -> None:
    """Draws from the posterior of every case of a twin file, and writes the draws with their cost.

    Then, if the file has a truth, what scores need of it that only torch can evaluate.

    Args:
        stage: The stage that draws.
        experiment: The experiment.
        name: The method's name in it.
        method: The method.
        observed: The observations.
        output: The file to write, of kind ``posterior``.
        samples: Draws per case; the experiment's if None.
        device: Where to compute.
        density: The log-density of the truth under the method's posterior, with shape ``(case,)``; None if it has none.

    Raises:
        ConfigError: If fewer than one sample is asked for, or the method refuses.
    """
    samples = experiment.draws(name) if samples is None else samples
    if samples < 1:
        raise ConfigError(f"--samples: at least one is needed, not {samples}")
    problem, window, cases, truth, coordinates = observed
    obey(problem, {f"methods.{name}": method.differentiates}, window)
    seed = seed_everything(experiment, "posterior", name, cases[0])
    ensemble = timed(method, f"methods.{name}", window, samples, device)
    truth_log_q = None
    # A truth of another system may lack the parameters, and has then no density.
    if density is not None and truth is not None and truth.theta.isfinite().all(dim=-1).any():
        truth_log_q = density(truth._replace(window=_complete(method, window)))
        truth_log_q = torch.where(_lost(method, window), torch.nan, truth_log_q)
    result = ensemble_dataset(
        ensemble,
        problem,
        cases,
        log_likelihood(problem, window, ensemble),
        truth_log_q,
        None if truth is None else predictive_pit(problem, truth, ensemble),
        # Draws of other methods are trajectories of the model, or of each time alone.
        model_residual(problem, window, ensemble) if method.trained and len(ensemble.steps) > 1 else None,
        transition_gap(problem, window, ensemble),
        coordinates,
    )
    seconds = float(ensemble.info["seconds"].sum())
    of_state = int(problem.observation.operator.observes_state)
    result.attrs = provenance(stage, experiment, name, seed, name, of_state=of_state, **cost(seconds, device))
    write(result, output, "posterior")
    log.info("%s: %d draws of %d cases in %.1f s", output, samples, len(cases), seconds)


def observations(experiment: Experiment, problem: Problem, twin: Path, device: torch.device) -> Observed:
    """Reads what a method may see of a twin file, and what it may not.

    Warns of cases without any observation, and of values that look like marks of missing ones.

    Args:
        experiment: The experiment, which says how times of files are read.
        problem: Its problem.
        twin: The file.
        device: Where the tensors go.

    Returns:
        The observations, with the problem of as many windows as the file has.

    Raises:
        ConfigError: If averages would leave out all windows of the file.
        DataError: If the file cannot be read, does not fit the problem, or holds no observation.
    """
    dataset = read(twin, "twin").load()
    own = "experiment" not in dataset.attrs
    lengths = Lengths(problem.window, problem.cycles, problem.forecast)
    settings = experiment.time_unit, experiment.time_tolerance
    dataset = placed(dataset, lengths, problem.system.dt, *settings, str(twin), problem.system.time_units)
    problem = replace(problem, cycles=experiment.cycles_in(dataset.sizes["time"]))
    if not dataset["observation"].notnull().any():
        raise DataError(f"{twin}: 'observation' holds no value, NaN alone; give it at least one observation")
    window = window_of(dataset, problem, str(twin), device)
    if own:
        check_coordinates(dataset, problem, str(twin))
        window = admissible(window, problem, twin)
    cases = dataset["case"].to_numpy() if "case" in dataset.coords else np.arange(dataset.sizes["case"])
    if len(set(cases.tolist())) < len(cases):
        raise DataError(f"{twin}: 'case' holds labels more than once; give each case one of its own, or none at all")
    blind = window.y.isnan().flatten(1).all(dim=-1)
    if blind.any():
        which = ", ".join(str(cases[i]) for i in blind.nonzero().flatten().tolist()[:10])
        log.warning("%s: case %s has no observation at all; its posterior is the prior", twin, which)
    _warn_of_marks(problem, window, twin)
    truth = truth_of(dataset, problem, window, str(twin), device)
    return Observed(problem, window, cases, truth, coordinates_of(dataset, problem))


def one_window(observed: Observed, twin: Path, key: str) -> Observed:
    """The observations, if they are of one window; for methods that take no more.

    Raises:
        DataError: If they are of several.
    """
    problem = observed.problem
    if problem.cycles > 1:
        raise DataError(
            f"{twin}: has {problem.length} times, and {key} sees one window of {problem.window} states; cut the file, "
            "or take a method that needs no training, which runs through the record"
        )
    return observed


def admissible(window: Window, problem: Problem, twin: Path) -> Window:
    """Takes for backgrounds of users the nearest states that the system can be in; says so if that changes them.

    Args:
        window: The windows of a file that the package did not make.
        problem: The problem.
        twin: The file, for the message.

    Returns:
        The windows, for velocities for example without the divergence of their backgrounds.
    """
    found = window.background
    nearest = problem.system.admissible(found)
    if nearest is found:
        return window
    changed = ((nearest - found).flatten(1).norm(dim=1) / found.flatten(1).norm(dim=1)).nan_to_num(nan=0.0)
    if (changed > ROUNDING).any():
        log.warning(
            "%s: %d backgrounds are none that the system can have, and the nearest ones are taken, without their "
            "divergence for example; that changes them by %.2g of their norm at most",
            *(twin, int((changed > ROUNDING).sum()), float(changed.max())),
        )
    return window._replace(background=nearest)


@torch.no_grad()
def _warn_of_marks(problem: Problem, window: Window, twin: Path) -> None:
    """Warns of values far from all others that no draw of the prior comes near: marks of missing values, it seems."""
    found = [
        (name, value, count)
        for name, values in (("observation", window.y), ("background", window.background))
        for value, count in suspects(values.cpu().numpy())
    ]
    if not found:
        return
    with torch.random.fork_rng():
        drawn = problem.sample((HELD,)).window
    for name, value, count in found:
        values = drawn.y if name == "observation" else drawn.background
        known = values[values.isfinite()]
        low, high = (float(known.min()), float(known.max())) if len(known) else (value, value)
        if not low - ABSURD * (high - low) <= value <= high + ABSURD * (high - low):
            log.warning(
                "%s: '%s' is %g at %d places, where the prior gives %.3g to %.3g; if it marks missing values, write "
                "NaN there, or name it in the attribute missing_value",
                *(twin, name, value, count, low, high),
            )


def timed(method: Posterior, key: str, window: Window, samples: int, device: torch.device) -> Ensemble:
    """Draws with a method, adds the seconds of each case to its diagnostics, and warns of failed draws.

    Args:
        method: The method.
        key: Where the experiment file speaks of it, for messages.
        window: The windows.
        samples: The number of draws per case.
        device: Where to compute.

    Returns:
        The draws.

    Raises:
        ConfigError: If the method refuses.
        DataError: If it meets a matrix that cannot be factorised.
    """
    start = perf_counter()
    try:
        ensemble = method.sample(_complete(method, window), samples)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error
    except torch.linalg.LinAlgError as error:
        least = float(window.std[window.y.isfinite()].min())
        raise DataError(
            f"{key}: a matrix is singular in {str(window.y.dtype).removeprefix('torch.')}; the smallest standard "
            f"deviation of an observation is {least:.3g}: correct it if no instrument is that good"
        ) from error
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = perf_counter() - start
    ensemble = _blank(ensemble, _lost(method, window), key)
    _warn_of_failures(ensemble, key, samples)
    share = torch.full_like(window.start, seconds / len(window.start))
    return ensemble._replace(info={**ensemble.info, "seconds": share})


def _lost(method: Posterior, window: Window) -> Tensor:
    """The cases that lack the background that a method needs, with shape ``(case,)``; none if all cases do."""
    free = window.free
    return free & ~free.all() & method.lost_without_background


def _complete(method: Posterior, window: Window) -> Window:
    """The windows with the first background there is in the place of those that a method needs and cases lack."""
    lost = _lost(method, window)
    donor = int(torch.argmin(lost.long()))
    background, std = (
        torch.where(append_dims(lost, value.ndim - 1), value[donor], value)
        for value in (window.background, window.background_std)
    )
    return window._replace(background=background, background_std=std)


def _blank(ensemble: Ensemble, lost: Tensor, key: str) -> Ensemble:
    """The draws, NaN in some cases: those that drew from a background that is not theirs."""
    if not lost.any():
        return ensemble
    log.warning("%s: %d of %d cases have no background, and this method needs one", key, int(lost.sum()), len(lost))
    x, theta = (
        torch.where(append_dims(lost, value.ndim - 2), torch.nan, value) for value in (ensemble.x, ensemble.theta)
    )
    log_q = None if ensemble.log_q is None else torch.where(lost, torch.nan, ensemble.log_q)
    failed = ensemble.info.get("failed", torch.zeros_like(lost, dtype=torch.float32))
    info = {**ensemble.info, "failed": torch.where(lost, len(x), failed)}
    return ensemble._replace(x=x, theta=theta, log_q=log_q, info=info)


def _warn_of_failures(ensemble: Ensemble, key: str, samples: int) -> None:
    """Says how many draws failed and were replaced, and in how many cases none was left to take their place."""
    failed = ensemble.info.get("failed")
    if failed is None or not failed.any():
        return
    lost = ~ensemble.x.isfinite().flatten(2).all(dim=-1).any(dim=0)
    if lost.any():
        log.warning("%s: all draws of %d of %d cases failed: these are NaN", key, int(lost.sum()), len(lost))
    if (replaced := int(failed[~lost].sum())) > 0:
        log.warning("%s: %d of %d draws failed and were replaced", key, replaced, samples * int((~lost).sum()))


def cost(seconds: float, device: torch.device) -> dict[str, str | float]:
    """The attributes that say what a file has cost."""
    return {"wall_seconds": seconds, "peak_memory_mib": peak_memory(device), "device": device_name(device)}
