"""Cases of several shards, as estimators take them."""

import torch
import xarray as xr
from torch import Tensor

from ..data.stream import Shards
from ..data.tensors import states, window_of
from ..estimators.batches import States
from ..problems import Problem, Twin, Window


def read_states(shards: Shards, problem: Problem, device: torch.device, cases: slice) -> States:
    """Reads neighbouring cases of a training set.

    Args:
        shards: The shards, of kind ``states``.
        problem: The problem.
        device: Where the tensors go.
        cases: Which.

    Returns:
        The cases.

    Raises:
        DataError: If a file is damaged, or does not fit the problem.
    """
    return States(*shards.read(cases, lambda dataset, source: states(dataset, problem, source, device)))


def read_twins(shards: Shards, problem: Problem, device: torch.device, cases: slice) -> Twin:
    """Reads neighbouring windows with their truths.

    Args:
        shards: The shards, of kind ``twin``.
        problem: The problem.
        device: Where the tensors go.
        cases: Which.

    Returns:
        The draws of the joint, with one batch dimension ``case``.

    Raises:
        DataError: If a file is damaged, or does not fit the problem.
    """

    def convert(dataset: xr.Dataset, source: str) -> tuple[Tensor, ...]:
        """States, parameters, and the fields of a window."""
        x, theta, *_ = states(dataset, problem, source, device)
        return x, theta, *window_of(dataset, problem, source, device)

    x, theta, *window = shards.read(cases, convert)
    return Twin(x, theta, Window(*window))
