"""Importance resampling with Pareto-smoothed weights; see :mod:`posterity.mcmc`."""

from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from ..problems.resampling import effective_sample_size, normalise_weights, systematic_resampling
from .diagnostics import pareto_smooth

#: The fewest draws to whose weights a tail can be fitted.
FEWEST = 25


class Resampled(NamedTuple):
    r"""Resampled draws, of equal weight, with the diagnostics of their weights.

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
    """Resamples draws systematically by their Pareto-smoothed weights.

    Args:
        log_weights: Logarithms of the weights, with shape ``(draw, case)``, at least 25 draws. What is not finite has
            no weight.
        samples: The number of draws of equal weight.

    Returns:
        The draws and diagnostics; a case whose weights are all zero is drawn from uniformly.
    """
    log_weights = log_weights.double().nan_to_num(nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)
    smoothed, k_hat = pareto_smooth(log_weights)
    log_mean = torch.logsumexp(log_weights, dim=0) - log(len(log_weights))
    chosen = systematic_resampling(normalise_weights(smoothed), samples)
    return Resampled(chosen, k_hat, effective_sample_size(smoothed), log_mean)


def check_draws(draws: int) -> None:
    """Raises if draws are too few to see a tail of their weights."""
    if draws < FEWEST:
        raise ValueError(f"draws: at least {FEWEST} are needed to see a tail of their weights, not {draws}")
