"""Draws of every case of a twin by any method, as a dataset with what scores need of them."""

import logging
from collections.abc import Callable
from time import perf_counter

import torch
import xarray as xr
from torch import Tensor

from ..data.tensors import ensemble_dataset
from ..errors import ConfigError, DataError
from ..problems import (
    Ensemble,
    Posterior,
    Twin,
    Window,
    log_likelihood,
    model_residual,
    predictive_pit,
    transition_gap,
)
from ..rules import obey
from ..tensors import append_dims, own_random_numbers
from .devices import cost
from .observed import Observed

log = logging.getLogger("posterity")


def drawn(
    method: Posterior,
    key: str,
    observed: Observed,
    samples: int,
    seed: int,
    density: Callable[[Twin], Tensor] | None = None,
) -> xr.Dataset:
    """Draws from the posterior of every case and, if there is a truth, what scores need of it that only torch knows.

    Args:
        method: The method, of the problem of the observations.
        key: What messages begin with.
        observed: The observations.
        samples: Draws per case.
        seed: The seed.
        density: The log-density of the truth under the method's posterior, with shape ``(case,)``; None if it has none.

    Returns:
        A ``posterior`` dataset, with its cost, and the numbers of assimilated states and of windows as attributes.

    Raises:
        ConfigError: If fewer than one sample is asked for, or the method refuses.
    """
    if samples < 1:
        raise ConfigError(f"--samples: at least one is needed, not {samples}")
    problem, window, cases, truth, coordinates = observed
    with own_random_numbers(seed):
        obey(problem, {key: method.differentiates}, window)
        ensemble = timed(method, key, window, samples)
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
    lengths = {"window": problem.window, "cycles": problem.cycles}
    return result.assign_attrs(**lengths, of_state=of_state, **cost(seconds, window.y.device))


def timed(method: Posterior, key: str, window: Window, samples: int) -> Ensemble:
    """Draws with a method, adds the seconds of each case to its diagnostics, and warns of failed draws.

    Args:
        method: The method.
        key: Where the experiment file speaks of it, for messages.
        window: The windows.
        samples: The number of draws per case.

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
    if window.y.is_cuda:
        torch.cuda.synchronize(window.y.device)
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
