"""What ``assimilate`` and ``sample`` share: from a twin file and a method to a posterior file."""

from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from ..config import Experiment
from ..data import load, read, write
from ..data.tensors import ensemble_dataset, window_of
from ..errors import ConfigError
from ..problems import Ensemble, Posterior, Problem, Window
from .common import device_name, log, peak_memory, provenance, seed_everything


def draw(
    experiment: Experiment,
    name: str,
    method: Posterior,
    problem: Problem,
    twin: Path,
    output: Path,
    samples: int | None,
    device: torch.device,
) -> None:
    """Draws from the posterior of every case of a twin file, and writes the draws with their cost.

    Args:
        experiment: The experiment.
        name: The method's name in it.
        method: The method.
        problem: The problem.
        twin: The file with the observations; it needs no truth.
        output: The file to write, of kind ``posterior``.
        samples: Draws per case; the experiment's if None.
        device: Where to compute.

    Raises:
        ConfigError: If fewer than one sample is asked for, or the method refuses.
    """
    samples = experiment.draws(name) if samples is None else samples
    if samples < 1:
        raise ConfigError(f"--samples: at least one is needed, not {samples}")
    dataset = load(read(twin, "twin"), twin)
    window = window_of(dataset, problem, str(twin), device)
    cases = dataset["case"].to_numpy() if "case" in dataset.coords else range(dataset.sizes["case"])
    blind = window.y.isnan().flatten(1).all(dim=-1)
    if blind.any():
        which = ", ".join(str(cases[i]) for i in blind.nonzero().flatten().tolist()[:10])
        log.warning("%s: case %s has no observation at all; its posterior is the prior", twin, which)
    seed = seed_everything(experiment, "posterior", name, cases[0])

    start = perf_counter()
    try:
        ensemble = method.sample(window, samples)
    except ValueError as error:
        raise ConfigError(f"methods.{name}: {error}") from error
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = perf_counter() - start
    info = {**ensemble.info, "seconds": torch.full_like(window.start, seconds / len(window.start))}
    ensemble = ensemble._replace(info=info)
    if (failed := info.get("failed")) is not None and failed.any():
        log.warning("%s: %d of %d draws failed and were replaced", name, int(failed.sum()), samples * len(failed))

    result = ensemble_dataset(ensemble, problem, cases, log_likelihood(problem, window, ensemble))
    cost: dict[str, str | float] = {
        "wall_seconds": seconds,
        "peak_memory_mib": peak_memory(device),
        "device": device_name(device),
    }
    result.attrs = provenance(experiment, seed, experiment.drawn_on(name), name, **cost)
    write(result, output, "posterior")
    log.info("%s: %d draws of %d cases in %.1f s", output, samples, len(window.start), seconds)


@torch.no_grad()
def log_likelihood(problem: Problem, window: Window, ensemble: Ensemble) -> Tensor | None:
    """The log-likelihood of each draw, with shape ``(samples, case)``; None if draws do not cover what was observed."""
    if ensemble.steps.start > 0:
        return None
    # Draw by draw: operators may need more memory than the draws themselves.
    draws = ensemble.x[:, :, : problem.length]
    return torch.stack([problem.observation.log_prob(window.y, x, window.std) for x in draws])
