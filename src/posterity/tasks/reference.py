"""``posterity reference``: the posterior that methods are held against, with figures of its own quality."""

from pathlib import Path

from ..data import read, write
from ..errors import ConfigError
from ..experiment import Experiment
from ..inference.devices import on_device
from ..inference.experiments import build_problem, build_reference
from ..inference.observed import Reading, observe, one_window
from ..inference.reference import reference_draws
from .common import log, provenance, seed_of
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
        method = build_reference(experiment, problem)
        found = observe(read(twin, "twin"), problem, str(twin), chosen, Reading.of(experiment))
        observed = one_window(found, str(twin), "reference")
        seeds = [seed_of(experiment, "reference", run, observed.cases[0]) for run in range(settings.runs)]
        draws = reference_draws(method, observed, settings.samples, seeds)
    made = provenance("reference", experiment, "", seeds[-1], settings.kind)
    write(draws.assign_attrs(made), output, "posterior")
    if settings.runs > 1:
        worst, median = float(draws["info_gap"].max()), float(draws["info_gap_median"].median())
        log.info("%s: gap between runs %.3f sd at worst, %.3f in the median", output, worst, median)
