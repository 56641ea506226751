"""Draws of equal weight from weighted ones, and how far the weights can be trusted."""

from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from ..problems.resampling import effective_sample_size, normalise_weights, systematic_resampling
from .diagnostics import pareto_smooth

#: The fewest draws of whose weights a tail can be seen.
FEWEST = 25


class Resampled(NamedTuple):
    r"""Draws of equal weight.

    Args:
        chosen: The numbers of the draws, with shape ``(samples, case)``.
        k_hat: The shape :math:`\hat k` of the weights' tail, with shape ``(case,)``; see :func:`pareto_smooth`.
        ess: The effective number of draws, with shape ``(case,)``.
        log_mean: The logarithm of the mean weight, with shape ``(case,)``.
    """

    chosen: Tensor
    k_hat: Tensor
    ess: Tensor
    log_mean: Tensor


def resample(log_weights: Tensor, samples: int) -> Resampled:
    """Smooths the largest weights, and resamples systematically.

    Args:
        log_weights: Logarithms of the weights, with shape ``(draw, case)``, at least 25 draws. What is not finite has
            no weight.
        samples: The number of draws of equal weight.

    Returns:
        The draws; any of a case all of whose weights are zero.
    """
    log_weights = log_weights.double().nan_to_num(nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)
    smoothed, k_hat = pareto_smooth(log_weights)
    log_mean = torch.logsumexp(log_weights, dim=0) - log(len(log_weights))
    chosen = systematic_resampling(normalise_weights(smoothed), samples)
    return Resampled(chosen, k_hat, effective_sample_size(smoothed), log_mean)


def check_draws(draws: int) -> None:
    """Refuses too few draws to see a tail of their weights."""
    if draws < FEWEST:
        raise ValueError(f"draws: at least {FEWEST} are needed to see a tail of their weights, not {draws}")
