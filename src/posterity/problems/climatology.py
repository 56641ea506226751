"""Moments of the climatology of a problem."""

import torch
from torch import Tensor

from .problem import Problem


def climatological_moments(problem: Problem, draws: int) -> tuple[Tensor, Tensor]:
    r"""The climatological mean and covariance of states and whitened unknown parameters.

    Args:
        problem: The problem.
        draws: The number of draws that they are estimated from.

    Returns:
        The mean, with shape ``(size,)``, and a root :math:`S` of the covariance :math:`S^T S`, with shape
        ``(min(draws, size), size)``.
    """
    v = torch.randn(draws, len(problem.parameters))
    x = problem.system_at(problem.decode_parameters(v)).initial((draws,))
    z = torch.cat((x.flatten(1), v), dim=-1)
    mean = z.mean(dim=0)
    return mean, torch.linalg.qr((z - mean) / (draws - 1) ** 0.5, mode="r").R
