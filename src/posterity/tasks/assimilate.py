"""``posterity assimilate``: a baseline, case by case."""

from functools import partial
from pathlib import Path

from ..baselines.cycling import cycled
from ..errors import ConfigError
from ..experiment import Experiment, catalog
from ..problems import Posterior, Problem
from .common import build_method, build_problem, on_device
from .draw import draw, observations
from .files.library import library


def assimilate(
    experiment: Experiment,
    method: str,
    twin: Path,
    output: Path,
    samples: int | None = None,
    device: str = "auto",
    climatology: Path | None = None,
) -> None:
    """Draws from the posterior of every case with a method that needs no training.

    A file may hold more windows than the experiment, or fewer, if there is no forecast.

    Args:
        experiment: The experiment.
        method: The method's name in it.
        twin: The file with the observations; it needs no truth.
        output: The file to write, of kind ``posterior``.
        samples: Draws per case; the experiment's if None.
        device: Where to compute.
        climatology: The library of states, if the experiment has one.

    Raises:
        ConfigError: If the method must be trained first.
    """
    if method in experiment.sampled():
        raise ConfigError(f"--method: '{method}' is trained: use `posterity train`, then `posterity sample`")
    with on_device(device) as chosen:
        observed = observations(experiment, build_problem(experiment, library(experiment, climatology)), twin, chosen)
        built = baseline(experiment, method, observed.problem)
        draw("assimilate", experiment, method, built, observed, output, samples, chosen)


def baseline(experiment: Experiment, name: str, problem: Problem) -> Posterior:
    """Constructs a method of an experiment, run window by window where it knows no records and the problem has them."""
    build = partial(build_method, experiment, name)
    try:
        return cycled(problem, catalog.resolve("method", experiment.methods[name].kind), build)
    except ValueError as error:
        raise ConfigError(f"methods.{name}: {error}") from error
