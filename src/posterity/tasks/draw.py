"""What ``assimilate``, ``sample`` and ``reference`` share: from a twin file and a method to draws of every case."""

from collections.abc import Callable
from math import prod
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from ..data import load, read, write
from ..data.tensors import ensemble_dataset, truth_of, window_of
from ..errors import ConfigError
from ..experiment import Experiment
from ..problems import Ensemble, Posterior, Problem, Twin, Window, chunks
from .common import device_name, log, peak_memory, provenance, seed_everything


def draw(
    stage: str,
    experiment: Experiment,
    name: str,
    method: Posterior,
    problem: Problem,
    twin: Path,
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
        problem: The problem.
        twin: The file with the observations; it needs no truth.
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
    window, cases, truth = windows(twin, problem, device)
    seed = seed_everything(experiment, "posterior", name, cases[0])
    ensemble = timed(method, f"methods.{name}", window, samples, device)
    truth_log_q = None
    # A truth of another system may lack the parameters, and has then no density.
    if density is not None and truth is not None and truth.theta.isfinite().all():
        truth_log_q = density(truth)
    result = ensemble_dataset(
        ensemble,
        problem,
        cases,
        log_likelihood(problem, window, ensemble),
        truth_log_q,
        None if truth is None else predictive_pit(problem, truth, ensemble),
    )
    seconds = float(ensemble.info["seconds"].sum())
    result.attrs = provenance(stage, experiment, name, seed, name, **cost(seconds, device))
    write(result, output, "posterior")
    log.info("%s: %d draws of %d cases in %.1f s", output, samples, len(cases), seconds)


def windows(twin: Path, problem: Problem, device: torch.device) -> tuple[Window, np.ndarray, Twin | None]:
    """Reads what a method may see of a twin file, and what it may not; warns of cases without any observation.

    Args:
        twin: The file.
        problem: The problem.
        device: Where the tensors go.

    Returns:
        The windows, the numbers of their cases, and the draws of the joint that they belong to, if the file has them.
    """
    dataset = load(read(twin, "twin"), twin)
    window = window_of(dataset, problem, str(twin), device)
    cases = dataset["case"].to_numpy() if "case" in dataset.coords else np.arange(dataset.sizes["case"])
    blind = window.y.isnan().flatten(1).all(dim=-1)
    if blind.any():
        which = ", ".join(str(cases[i]) for i in blind.nonzero().flatten().tolist()[:10])
        log.warning("%s: case %s has no observation at all; its posterior is the prior", twin, which)
    return window, cases, truth_of(dataset, problem, window, str(twin), device)


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
    """
    start = perf_counter()
    try:
        ensemble = method.sample(window, samples)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = perf_counter() - start
    if (failed := ensemble.info.get("failed")) is not None and failed.any():
        log.warning("%s: %d of %d draws failed and were replaced", key, int(failed.sum()), samples * len(failed))
    share = torch.full_like(window.start, seconds / len(window.start))
    return ensemble._replace(info={**ensemble.info, "seconds": share})


def cost(seconds: float, device: torch.device) -> dict[str, str | float]:
    """The attributes that say what a file has cost."""
    return {"wall_seconds": seconds, "peak_memory_mib": peak_memory(device), "device": device_name(device)}


@torch.no_grad()
def log_likelihood(problem: Problem, window: Window, ensemble: Ensemble) -> Tensor | None:
    """The log-likelihood of each draw, with shape ``(samples, case)``; None if draws do not cover what was observed."""
    if ensemble.steps.start > 0:
        return None
    # Draw by draw: operators may need more memory than the draws themselves.
    draws = ensemble.x[:, :, : problem.length]
    return torch.stack([problem.observation.log_prob(window.y, x, window.std) for x in draws])


@torch.no_grad()
def predictive_pit(problem: Problem, truth: Twin, ensemble: Ensemble) -> Tensor:
    r"""The probability integral transform of new observations under the posterior predictive,

    .. math::
        u = \frac{1}{S} \sum_s \Phi\left(\frac{y' - H(x_s)}{\sigma}\right), \qquad y' = H(x) + \sigma \varepsilon' ,

    uniform on [0, 1] in the limit of many draws of a calibrated posterior. Entries are those that were observed, with
    the standard deviations of then, but noise of their own: a posterior has seen the other.

    Args:
        problem: The problem.
        truth: The draws of the joint.
        ensemble: The draws from the posterior.

    Returns:
        The transform, with shape ``(case, time, *obs_shape)`` for the times of the ensemble, NaN where nothing was
        observed.
    """
    operator, (first, end) = problem.observation.operator, (ensemble.steps.start, problem.length)
    std = torch.where(truth.window.y.isnan(), torch.nan, truth.window.std)[:, first:end]
    y = operator(truth.x[:, first:end])
    y = y + std * torch.randn_like(y)
    u = torch.zeros_like(y)
    largest = max(prod(problem.shape), prod(problem.observation.shape))
    for chunk in chunks(len(ensemble.x), y.shape[0] * y.shape[1] * largest, y.device):
        seen = operator(ensemble.x[chunk, :, : end - first])
        u += torch.special.ndtr((y - seen) / std).sum(dim=0)
    missing = u.new_full((len(u), len(ensemble.steps) - u.shape[1], *u.shape[2:]), torch.nan)
    return torch.cat((u / len(ensemble.x), missing), dim=1)
