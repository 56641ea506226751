"""``posterity assimilate``: a baseline, case by case."""

from pathlib import Path

from ..data import read
from ..errors import ConfigError
from ..experiment import Experiment
from ..inference.devices import on_device
from ..inference.draws import drawn
from ..inference.experiments import build_problem
from ..inference.observed import Reading, observe
from ..inference.records import build_baseline
from .common import seed_of
from .files.draws import write_draws
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
        problem = build_problem(experiment, library(experiment, climatology))
        observed = observe(read(twin, "twin"), problem, str(twin), chosen, Reading.of(experiment))
        built = build_baseline(experiment, method, observed.problem)
        count = experiment.draws(method) if samples is None else samples
        seed = seed_of(experiment, "posterior", method, observed.cases[0])
        draws = drawn(built, f"methods.{method}", observed, count, seed)
    write_draws("assimilate", experiment, method, draws, output, seed)
