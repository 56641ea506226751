"""Moments of the climatology of a problem."""

import torch
from torch import Tensor

from ..tensors import defaults_of, white_noise
from .problem import Problem


def climatological_moments(problem: Problem, draws: int, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""The climatological mean and covariance of states and whitened unknown parameters.

    Args:
        problem: The problem.
        draws: The number of draws that they are estimated from.
        like: A tensor whose dtype and device they have; torch's defaults if omitted.

    Returns:
        The mean, with shape ``(size,)``, and a root :math:`S` of the covariance :math:`S^T S`, with shape
        ``(min(draws, size), size)``.
    """
    like = torch.empty(0) if like is None else like
    v = white_noise(like, draws, len(problem.parameters))
    with defaults_of(like):
        x = problem.system_at(problem.decode_parameters(v)).initial((draws,))
    z = torch.cat((x.flatten(1), v), dim=-1)
    mean = z.mean(dim=0)
    return mean, torch.linalg.qr((z - mean) / (draws - 1) ** 0.5, mode="r").R
