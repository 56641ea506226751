"""``posterity reference``: the posterior that methods are held against, with figures of its own quality."""

from pathlib import Path

import numpy as np

from ..data import write
from ..data.tensors import ensemble_dataset
from ..errors import ConfigError
from ..experiment import Experiment
from ..experiment.component import Component
from ..problems import Posterior, Problem, log_likelihood
from ..problems.ensemble import join_runs
from ..rules import obey
from .common import build_posterior, build_problem, log, on_device, provenance, seed_everything
from .draw import cost, observations, one_window, timed
from .files.library import library


def reference(
    experiment: Experiment, twin: Path, output: Path, device: str = "auto", climatology: Path | None = None
) -> None:
    """Draws the reference posterior of every case in independent runs, and measures the gap between them.

    Args:
        experiment: The experiment.
        twin: The file with the observations; it needs no truth.
        output: The file to write, of kind ``posterior``: the draws of all runs, numbered by ``run``; the gaps
            ``info_gap`` and ``info_gap_median``, see :func:`~posterity.problems.ensemble.run_gaps`; and the diagnostics
            of the method, see :func:`~posterity.problems.ensemble.join_runs`.
        device: Where to compute.
        climatology: The library of states, if the experiment has one.

    Raises:
        ConfigError: If the experiment has no reference, or one that must be trained, or the method refuses.
    """
    settings = experiment.reference
    if settings is None:
        raise ConfigError(f"'{experiment.name}' has no reference: say which method makes it, under 'reference'")
    with on_device(device) as chosen:
        problem = build_problem(experiment, library(experiment, climatology))
        method = build_reference(experiment, settings, problem)
        observed = one_window(observations(experiment, problem, twin, chosen), twin, "reference")
        window, cases = observed.window, observed.cases
        obey(problem, {"reference": method.differentiates}, window)
        runs = []
        for run in range(settings.runs):
            seed = seed_everything(experiment, "reference", run, cases[0])
            runs.append(timed(method, "reference", window, settings.samples, chosen))
            log.info("reference: run %d of %d done", run + 1, settings.runs)
        ensemble = join_runs(runs)
        likelihood = log_likelihood(problem, window, ensemble)
        result = ensemble_dataset(ensemble, problem, cases, likelihood, coordinates=observed.coordinates)
        seconds = float(ensemble.info["seconds"].sum())
        extra = cost(seconds, chosen)
    numbers = np.repeat(np.arange(settings.runs), settings.samples)
    result = result.assign(run=("sample", numbers, {"long_name": "number of the run"}))
    result.attrs = provenance("reference", experiment, "", seed, settings.kind, **extra)
    write(result, output, "posterior")
    if settings.runs > 1:
        worst, median = ensemble.info["gap"].max(), ensemble.info["gap_median"].median()
        log.info("%s: gap between runs %.3f sd at worst, %.3f in the median", output, worst, median)


def build_reference(experiment: Experiment, settings: Component, problem: Problem) -> Posterior:
    """The method that makes the reference.

    Raises:
        ConfigError: If it must be trained, or targets another posterior.
    """
    method = build_posterior(experiment, "reference", settings, problem)
    if method.trained:
        raise ConfigError(f"reference: '{settings.kind}' must be trained, and a reference is not: try 'smc' or 'hmc'")
    return method
