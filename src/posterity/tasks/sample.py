"""``posterity sample``: a trained estimator."""

import json
from functools import partial
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import ConfigError, DataError
from ..estimators import DensityEstimator, Learned, network_chunks
from ..estimators.refinement import Refined
from ..experiment import Experiment
from ..experiment.component import Component
from ..experiment.dependencies import dependencies
from ..problems import Posterior, Problem, Twin
from ..tensors import append_dims
from .common import build, build_method, build_problem, on_device
from .draw import draw, observations, one_window
from .files.artifacts import WEIGHTS, check_intact, description
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
        observed = one_window(observations(experiment, problem, twin, chosen), twin, f"methods.{method}")
        posterior: Posterior = load_estimator(experiment, method, problem, weights, chosen)
        if (refinement := experiment.methods[method].refinement) is not None:
            posterior = refined(posterior, refinement, method)
        density = partial(_density, posterior) if isinstance(posterior, DensityEstimator) else None
        draw("sample", experiment, method, posterior, observed, output, samples, chosen, density)


@torch.no_grad()
def _density(estimator: DensityEstimator, truth: Twin) -> Tensor:
    """The log-density of the truth of each case, with shape ``(case,)``; minus infinity beyond the prior."""
    beyond = estimator.problem.encode_parameters(truth.theta).isinf().any(dim=-1)
    z = estimator.encode(truth)
    # Networks turn infinities into NaN.
    z = torch.where(append_dims(beyond, len(estimator.shape)), 0, z)
    found = [
        estimator.log_prob(z[chunk], truth.window.select(chunk))
        for chunk in network_chunks(len(z), 1, estimator.shape, z.device)
    ]
    return torch.where(beyond, -torch.inf, torch.cat(found))


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
    check_intact(weights / WEIGHTS)
    try:
        estimator.load_state_dict(load_file(weights / WEIGHTS, device=str(device)))
    except (OSError, SafetensorError) as error:
        raise DataError(f"{weights / WEIGHTS}: cannot be read ({error}); train '{trained}' again") from error
    except RuntimeError as error:
        raise DataError(
            f"{weights / WEIGHTS}: does not fit '{method}', as weights of an earlier version; train '{trained}' again"
        ) from error
    return estimator.eval()


def refined(estimator: Posterior, refinement: Component, method: str) -> Posterior:
    """An estimator whose draws are refined."""
    if not isinstance(estimator, DensityEstimator):
        raise ConfigError(f"methods.{method}.refines: that method has no density, and none to refine; choose another")
    try:
        return Refined(estimator, build("refinement", refinement))
    except ValueError as error:
        raise ConfigError(f"methods.{method}.refines: {error}") from error
