"""Weighted draws: effective sample size, normalisation and systematic resampling."""

import torch
from torch import Tensor


def effective_sample_size(log_weights: Tensor) -> Tensor:
    r"""The effective number :math:`(\sum_i w_i)^2 / \sum_i w_i^2` of weighted draws.

    Args:
        log_weights: Logarithms of the weights, with shape ``(draw, case)``.

    Returns:
        The number, with shape ``(case,)``; NaN if all weights are zero.
    """
    # Of normalised weights: a difference of logarithms would lose all digits of large ones.
    return torch.softmax(log_weights, dim=0).square().sum(dim=0).reciprocal()


def normalise_weights(log_weights: Tensor) -> Tensor:
    """The weights, which sum to one; equal ones where all of them are zero.

    Args:
        log_weights: Logarithms of the weights, with shape ``(draw, case)``; a draw without one, NaN, has no weight.

    Returns:
        The weights, with the same shape.
    """
    return torch.softmax(log_weights.nan_to_num(nan=-torch.inf), dim=0).nan_to_num(nan=1 / len(log_weights))


def systematic_resampling(weights: Tensor, draws: int) -> Tensor:
    r"""Systematic resampling: draw :math:`i` where the cumulative weight passes :math:`(i + U) / n`, one U per case.

    Args:
        weights: The weights, with shape ``(particle, case)``, which sum to one.
        draws: The number of draws :math:`n`.

    Returns:
        The numbers of the particles drawn, with shape ``(draws, case)``, ascending.

    References:
        | Comparison of resampling schemes for particle filtering (Douc, Cappé & Moulines, 2005),
          https://arxiv.org/abs/cs/0507025
    """
    cumulative = weights.double().cumsum(dim=0)
    cumulative = cumulative / cumulative[-1]
    uniform = torch.rand_like(cumulative[0])
    position = (torch.arange(draws, device=weights.device).unsqueeze(-1) + uniform) / draws
    index = torch.searchsorted(cumulative.mT.contiguous(), position.mT.contiguous(), right=True).mT
    return index.clamp(max=len(weights) - 1)


def take(values: Tensor, index: Tensor) -> Tensor:
    """Takes members of each case.

    Args:
        values: Values of the members, with shape ``(member, case, …)``.
        index: The numbers of the members, with shape ``(draws, case)``.

    Returns:
        The values of those, with shape ``(draws, case, …)``.
    """
    return values[index, torch.arange(values.shape[1], device=values.device)]
