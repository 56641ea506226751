"""Draws of every case of a twin file by any method, as ``assimilate``, ``sample`` and ``reference`` share them."""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from ..data import load, read, write
from ..data.tensors import ensemble_dataset, truth_of, window_of
from ..errors import ConfigError
from ..experiment import Experiment
from ..problems import Ensemble, Posterior, Problem, Twin, Window, log_likelihood, predictive_pit
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
    if density is not None and truth is not None and truth.theta.isfinite().all(dim=-1).any():
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
