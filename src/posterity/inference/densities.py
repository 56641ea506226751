"""What is made of trained estimators: the density of the truth under them, and posteriors that refine their draws."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..errors import ConfigError
from ..estimators import DensityEstimator, network_chunks
from ..estimators.refinement import Refined
from ..experiment.component import Component
from ..problems import Posterior, Twin
from ..tensors import append_dims
from .components import build


def density_of(posterior: Posterior) -> Callable[[Twin], Tensor] | None:
    """The log-density of the truth of each case, as a function of twins; None of estimators that have none."""
    return partial(truth_density, posterior) if isinstance(posterior, DensityEstimator) else None


@torch.no_grad()
def truth_density(estimator: DensityEstimator, truth: Twin) -> Tensor:
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


def refined(estimator: Posterior, refinement: Component, key: str) -> Posterior:
    """An estimator whose draws are refined.

    Raises:
        ConfigError: If it has no density to refine; the message begins with the key.
    """
    if not isinstance(estimator, DensityEstimator):
        raise ConfigError(f"{key}: that method has no density, and none to refine; choose another")
    try:
        return Refined(estimator, build("refinement", refinement))
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error
