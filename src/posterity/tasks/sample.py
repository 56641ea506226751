"""``posterity sample``: a trained estimator."""

import json
from pathlib import Path
from typing import cast

import torch

from ..data import read
from ..data.artifacts import description
from ..data.weights import read_weights
from ..errors import ConfigError
from ..estimators import Learned
from ..experiment import Experiment
from ..experiment.dependencies import dependencies
from ..inference.densities import density_of, refined
from ..inference.devices import on_device
from ..inference.draws import drawn
from ..inference.experiments import build_method, build_problem
from ..inference.observed import Reading, observe, one_window
from ..problems import Problem
from .common import seed_of
from .files.draws import write_draws
from .files.library import library


def sample(
    experiment: Experiment,
    method: str,
    weights: Path,
    twin: Path,
    output: Path,
    samples: int | None = None,
    device: str = "auto",
    climatology: Path | None = None,
) -> None:
    """Draws from the posterior of every case with a trained estimator, and refines the draws if the method says so.

    Args:
        experiment: The experiment.
        method: The method's name in it.
        weights: The folder that ``train`` wrote.
        twin: The file with the observations; it needs no truth.
        output: The file to write, of kind ``posterior``.
        samples: Draws per case; the experiment's if None.
        device: Where to compute.
        climatology: The library of states, if the experiment has one.

    Raises:
        ConfigError: If the method is not trained, or was trained for another problem.
        DataError: If the weights are missing or damaged.
    """
    if method not in experiment.sampled():
        raise ConfigError(f"--method: '{method}' is not trained: use `posterity assimilate`")
    with on_device(device) as chosen:
        problem = build_problem(experiment, library(experiment, climatology))
        found = observe(read(twin, "twin"), problem, str(twin), chosen, Reading.of(experiment))
        observed = one_window(found, str(twin), f"methods.{method}")
        estimator = load_estimator(experiment, method, problem, weights, chosen)
        refinement = experiment.methods[method].refinement
        posterior = estimator if refinement is None else refined(estimator, refinement, f"methods.{method}.refines")
        count = experiment.draws(method) if samples is None else samples
        seed = seed_of(experiment, "posterior", method, observed.cases[0])
        draws = drawn(posterior, f"methods.{method}", observed, count, seed, density_of(posterior))
    write_draws("sample", experiment, method, draws, output, seed)


def load_estimator(
    experiment: Experiment, method: str, problem: Problem, weights: Path, device: torch.device
) -> Learned:
    """A trained estimator.

    Args:
        experiment: The experiment.
        method: The name of the method that draws, with weights of its own or those of another.
        problem: The problem.
        weights: The folder that ``train`` wrote.
        device: Where to compute.

    Raises:
        ConfigError: If it was trained for another problem.
        DataError: If the weights are missing or damaged.
    """
    trained = experiment.weights(method)
    if description(weights, ["configuration"])["configuration"] != json.dumps(
        dependencies("train", experiment, trained).configuration
    ):
        raise ConfigError(f"{weights}: was trained for another problem or with other options; train '{trained}' again")
    estimator = cast(Learned, build_method(experiment, method, problem))
    read_weights(estimator, weights, device, method, f"train '{trained}' again")
    return estimator.eval()
