"""``posterity reference``: the posterior that methods are held against, with figures of its own quality."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data import write
from ..data.tensors import ensemble_dataset
from ..errors import ConfigError
from ..experiment import Experiment
from ..problems import Ensemble, Posterior
from ..problems.ensemble import joined
from .common import build, build_problem, log, on_device, provenance, seed_everything
from .draw import cost, log_likelihood, timed, windows


def reference(experiment: Experiment, twin: Path, output: Path, device: str = "auto") -> None:
    """Draws the reference posterior of every case in independent runs, and measures the gap between them.

    Args:
        experiment: The experiment.
        twin: The file with the observations; it needs no truth.
        output: The file to write, of kind ``posterior``: the draws of all runs, numbered by ``run``; the gaps
            ``info_gap`` and ``info_gap_median``, see :func:`gaps`; and the diagnostics of the method, see :func:`join`.
        device: Where to compute.

    Raises:
        ConfigError: If the experiment has no reference, or one that must be trained, or the method refuses.
    """
    settings = experiment.reference
    if settings is None:
        raise ConfigError(f"'{experiment.name}' has no reference: say which method makes it, under 'reference'")
    with on_device(device) as chosen:
        problem = build_problem(experiment)
        method: Posterior = build("method", settings, problem)
        if method.trained:
            raise ConfigError(
                f"reference: '{settings.kind}' must be trained, and a reference is not: try 'smc' or 'hmc'"
            )
        window, cases, _ = windows(twin, problem, chosen)
        runs = []
        for run in range(settings.runs):
            seed = seed_everything(experiment, "reference", run, cases[0])
            runs.append(timed(method, "reference", window, settings.samples, chosen))
            log.info("reference: run %d of %d done", run + 1, settings.runs)
        ensemble = join(runs)
        result = ensemble_dataset(ensemble, problem, cases, log_likelihood(problem, window, ensemble))
        seconds = float(ensemble.info["seconds"].sum())
        extra = cost(seconds, chosen)
    numbers = np.repeat(np.arange(settings.runs), settings.samples)
    result = result.assign(run=("sample", numbers, {"long_name": "number of the run"}))
    result.attrs = provenance("reference", experiment, "", seed, settings.kind, **extra)
    write(result, output, "posterior")
    if settings.runs > 1:
        worst, median = ensemble.info["gap"].max(), ensemble.info["gap_median"].median()
        log.info("%s: gap between runs %.3f sd at worst, %.3f in the median", output, worst, median)


def join(runs: Sequence[Ensemble]) -> Ensemble:
    """Joins independent runs along their samples.

    Args:
        runs: The draws of each run, with shapes ``(samples, case, …)``.

    Returns:
        All draws, with the gaps between runs. Diagnostics that count work are added up, others are averaged.
    """
    info = joined([run.info for run in runs])
    if len(runs) > 1:
        info["gap"], info["gap_median"] = gaps(runs)
    x, theta = torch.cat([run.x for run in runs]), torch.cat([run.theta for run in runs])
    return Ensemble(x, theta, runs[0].steps, info)


def gaps(runs: Sequence[Ensemble]) -> tuple[Tensor, Tensor]:
    r"""How far the means of independent runs lie apart, in standard deviations of all draws together,

    .. math:: g_i = \frac{\max_r \bar x_{i,r} - \min_r \bar x_{i,r}}{\sigma_i} .

    Args:
        runs: The draws of each run, with shapes ``(samples, case, …)``.

    Returns:
        The largest and the median gap over the entries of states and parameters, with shape ``(case,)``.
    """
    draws = torch.stack([torch.cat((run.x.flatten(2), run.theta), dim=-1) for run in runs])
    means = draws.mean(dim=1)
    gap = (means.amax(dim=0) - means.amin(dim=0)) / draws.flatten(0, 1).std(dim=0)
    return gap.amax(dim=-1), gap.median(dim=-1).values
