"""The bridge between tensors and datasets."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ..errors import DataError
from ..problems import Ensemble, Problem, Twin, Window
from ..tensors import append_dims
from .coordinates import observed_sites, own_coordinates
from .schema import INFO, dims
from .variables import backgrounds, parameters, place, sized, starts


def twin_dataset(twin: Twin, problem: Problem, first_case: int = 0, observations: bool = True) -> xr.Dataset:
    """Turns draws of the joint into a ``twin`` dataset.

    Args:
        twin: The draws, with one batch dimension ``case``.
        problem: The problem that they were drawn from.
        first_case: The number of the first case.
        observations: Whether to keep the observations; training sets hold states only.

    Returns:
        The dataset; observations are padded with NaN over the forecast, and their attribute ``of_state`` is 1 if they
        are of the state itself, else 0.
    """
    grid = len(problem.shape) - 1
    obs_grid = len(problem.observation.shape) - 1
    units = problem.system.units
    window = twin.window
    variables: dict = {"state": (dims("twin", "state", grid), _numpy(twin.x), {"units": units})}
    if problem.parameters:
        variables["theta"] = (dims("twin", "theta", grid), _numpy(twin.theta))
    if not window.background.isnan().all():
        # A draw of the climatology may fail in part; a background is there as a whole, or not at all.
        there = append_dims(window.background.flatten(1).isfinite().all(dim=1), 1 + grid)
        for name, value in (("background", window.background), ("background_std", window.background_std)):
            whole = torch.where(there, value, torch.nan)
            variables[name] = (dims("twin", name, grid), _numpy(whole), {"units": units})
    if problem.start[1]:
        variables["start"] = (("case",), _numpy(window.start), {"units": "steps"})
    if observations:
        of_state = int(problem.observation.operator.observes_state)  # NetCDF has no truth values
        attributes = {"observation": {"units": units, "of_state": of_state}, "observation_std": {"units": units}}
        for name, value in (("observation", window.y), ("observation_std", window.std)):
            padded = _pad(value, problem.steps)
            variables[name] = (dims("twin", name, obs_grid), _numpy(padded), attributes[name])
    cases = np.arange(first_case, first_case + twin.x.shape[0])
    places = observed_sites(problem) if observations else {}
    return xr.Dataset(variables, {**own_coordinates(problem, cases), **places})


def states(
    dataset: xr.Dataset, problem: Problem, source: str, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Reads states back, with the parameters, backgrounds and starts that they were drawn with.

    Args:
        dataset: A ``states`` dataset, or a twin with truth.
        problem: The problem.
        source: The file's name, for messages.
        device: Where the tensors go.

    Returns:
        The states, with shape ``(case, window + forecast, *shape)``; the parameters, with shape ``(case, parameters)``;
        the backgrounds and their standard deviations, with shape ``(case, *shape)``, NaN if there are none; the times
        at which the windows start, in steps, with shape ``(case,)``.

    Raises:
        DataError: If there are no states, or sizes or backgrounds do not fit the problem.
    """
    if "state" not in dataset:
        raise DataError(
            f"{source}: variable 'state' is missing; estimators are trained and chosen by true states: simulate it"
        )
    x = sized(dataset, "state", (problem.steps, *problem.shape), source, device)
    background, std = backgrounds(dataset, problem, source, device)
    return x, parameters(dataset, problem, source, device), background, std, starts(dataset, problem, source, device)


def window_of(dataset: xr.Dataset, problem: Problem, source: str, device: torch.device | str = "cpu") -> Window:
    """Reads what a method may see, from a twin of ours or from a user's own observations.

    Args:
        dataset: A ``twin`` dataset, with as many times as the window, or window and forecast together.
        problem: The problem.
        source: The file's name, for messages.
        device: Where the tensors go.

    Returns:
        The windows, with one batch dimension ``case``.

    Raises:
        DataError: If sizes, standard deviations or backgrounds do not fit the problem.
    """
    times = dataset.sizes["time"]
    if times not in (problem.length, problem.steps):
        raise DataError(
            f"{source}: has {times} times; the experiment assimilates {problem.length} states"
            + (f" (and forecasts {problem.forecast} more)" if problem.forecast else "")
            + "; cut the file, or change 'window' in the experiment"
        )
    y = sized(dataset, "observation", (times, *problem.observation.shape), source, device)
    std = sized(dataset, "observation_std", (times, *problem.observation.shape), source, device)
    y, std = y[:, : problem.length], std[:, : problem.length]
    if y.isinf().any():
        raise DataError(f"{source}: 'observation' has infinite entries; mark missing ones as NaN")
    if (wrong := ~y.isnan() & ~((std > 0) & std.isfinite())).any():
        raise DataError(
            f"{source}: 'observation_std' must be positive and finite wherever there is an observation; it is not at "
            f"{int(wrong.sum())} entries, first at {place(wrong)}; correct these"
        )
    # Where nothing is observed the standard deviation means nothing: any positive number does.
    std = torch.where(y.isnan() & ~((std > 0) & std.isfinite()), 1.0, std)
    background, background_std = backgrounds(dataset, problem, source, device)
    return Window(y, std, background, background_std, starts(dataset, problem, source, device))


def truth_of(
    dataset: xr.Dataset, problem: Problem, window: Window, source: str, device: torch.device | str = "cpu"
) -> Twin | None:
    """Reads the draws of the joint that windows belong to: what methods never see, and scores need.

    Args:
        dataset: A ``twin`` dataset.
        problem: The problem.
        window: Its windows.
        source: The file's name, for messages.
        device: Where the tensors go.

    Returns:
        The draws, with one batch dimension ``case``; parameters are NaN if the file has none. None if the file has no
        states, or ends with the window.

    Raises:
        DataError: If sizes do not fit the problem.
    """
    if "state" not in dataset or dataset.sizes["time"] != problem.steps:
        return None
    if dataset["state"].isel(time=-1).isnull().all():
        return None
    x = sized(dataset, "state", (problem.steps, *problem.shape), source, device)
    theta = torch.full((len(x), len(problem.parameters)), torch.nan, device=device)
    return Twin(x, parameters(dataset, problem, source, device) if "theta" in dataset else theta, window)


def ensemble_dataset(
    ensemble: Ensemble,
    problem: Problem,
    cases: Sequence[int] | np.ndarray,
    log_likelihood: Tensor | None,
    truth_log_q: Tensor | None = None,
    predictive_pit: Tensor | None = None,
    model_residual: Tensor | None = None,
    transition_gap: Tensor | None = None,
    coordinates: Mapping[str, xr.Variable] | None = None,
) -> xr.Dataset:
    """Turns draws from a posterior into a ``posterior`` dataset.

    Args:
        ensemble: The draws, with shapes ``(samples, case, …)``.
        problem: The problem.
        cases: The numbers of the cases.
        log_likelihood: The log-likelihood of each draw, with shape ``(samples, case)``; None if it has none.
        truth_log_q: The log-density of the truth, with shape ``(case,)``; None if there is none.
        predictive_pit: The transforms of new observations, with shape ``(case, time, *obs_shape)``; None if there are
            none.
        model_residual: The residual of the model, with shape ``(case, time)``; None if there is none.
        transition_gap: The log-density of transitions above the model's, with shape ``(samples, case)``; None if they
            have none.
        coordinates: Coordinates that take the place of the problem's, see
            :func:`posterity.data.coordinates.coordinates_of`.

    Returns:
        The dataset.
    """
    grid, obs_grid = len(problem.shape) - 1, len(problem.observation.shape) - 1
    state = _numpy(ensemble.x.movedim(0, 1))
    variables: dict = {
        "state": (dims("posterior", "state", grid), state, {"units": problem.system.units}),
    }
    if log_likelihood is not None:
        variables["log_likelihood"] = (("case", "sample"), _numpy(log_likelihood.mT), {"units": "nat"})
    if ensemble.log_q is not None:
        variables["log_q"] = (("case", "sample"), _numpy(ensemble.log_q.mT), {"units": "nat"})
    if truth_log_q is not None:
        variables["truth_log_q"] = (("case",), _numpy(truth_log_q), {"units": "nat"})
    if predictive_pit is not None:
        variables["predictive_pit"] = (dims("posterior", "predictive_pit", obs_grid), _numpy(predictive_pit))
    if model_residual is not None:
        variables["model_residual"] = (("case", "time"), _numpy(model_residual), {"units": problem.system.units})
    if transition_gap is not None:
        variables["transition_gap"] = (("case", "sample"), _numpy(transition_gap.mT), {"units": "nat"})
    if problem.parameters:
        variables["theta"] = (dims("posterior", "theta", grid), _numpy(ensemble.theta.movedim(0, 1)))
    for name, value in ensemble.info.items():
        curve = ("iteration",) if value.ndim == 2 else ()
        variables[INFO + name] = (("case", *curve), _numpy(value.to(torch.float32)))
    dataset = xr.Dataset(variables, own_coordinates(problem, np.asarray(cases), ensemble.steps))
    if "iteration" in dataset.dims:
        # Curves of different lengths, as files of one method may have, are joined by their iterations.
        dataset = dataset.assign_coords(iteration=np.arange(dataset.sizes["iteration"]))
    steps = {"time": np.asarray(ensemble.steps)} if coordinates else {}
    own = {n: c.isel({d: k for d, k in steps.items() if d in c.dims}) for n, c in (coordinates or {}).items()}
    return dataset.assign_coords(own)


def _pad(value: Tensor, times: int) -> Tensor:
    """Appends NaN along time, dimension 1."""
    missing = value.new_full((value.shape[0], times - value.shape[1], *value.shape[2:]), torch.nan)
    return torch.cat((value, missing), dim=1)


def _numpy(value: Tensor) -> np.ndarray:
    """A tensor as an array."""
    return value.detach().cpu().numpy()
