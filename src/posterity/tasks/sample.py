"""``posterity sample``: a trained estimator."""

import json
from pathlib import Path
from typing import cast

from safetensors import SafetensorError
from safetensors.torch import load_file

from ..config import Experiment
from ..errors import ConfigError, DataError
from ..estimators import Estimator
from .common import build_method, build_problem, on_device
from .posterior import draw
from .train import WEIGHTS, description


def sample(
    experiment: Experiment,
    method: str,
    weights: Path,
    twin: Path,
    output: Path,
    samples: int | None = None,
    device: str = "auto",
) -> None:
    """Draws from the posterior of every case with a trained estimator.

    Args:
        experiment: The experiment.
        method: The method's name in it.
        weights: The folder that ``train`` wrote.
        twin: The file with the observations; it needs no truth.
        output: The file to write, of kind ``posterior``.
        samples: Draws per case; the experiment's if None.
        device: Where to compute.

    Raises:
        ConfigError: If the method is not trained, or was trained for another problem.
        DataError: If the weights are missing or damaged.
    """
    if experiment.methods[method].training is None:
        raise ConfigError(f"--method: '{method}' is not trained: use `posterity assimilate`")
    saved = description(weights)
    if saved.get("configuration") != json.dumps(experiment.trained_on(method)):
        raise ConfigError(f"{weights}: was trained for another problem or with other options; train '{method}' again")
    with on_device(device) as chosen:
        problem = build_problem(experiment)
        estimator = cast(Estimator, build_method(experiment, method, problem))
        try:
            estimator.load_state_dict(load_file(weights / WEIGHTS, device=str(chosen)))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise DataError(f"{weights / WEIGHTS}: cannot be read ({error}); train '{method}' again") from error
        estimator.eval()
        draw(experiment, method, estimator, problem, twin, output, samples, chosen)
