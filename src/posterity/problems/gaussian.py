"""The exact posterior of linear-Gaussian problems: the yardstick of every method."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..systems import LinearAdvection
from .problem import Problem, Window


class GaussianPosterior(NamedTuple):
    r"""A Gaussian over trajectories.

    Args:
        mean: The means :math:`E[x_t | y]`, with shape ``(case, window + forecast, n)``.
        covariance: The covariances :math:`\mathrm{Cov}[x_t | y]`, with shape ``(case, window + forecast, n, n)``.
    """

    mean: Tensor
    covariance: Tensor


def exact_posterior(problem: Problem, window: Window) -> GaussianPosterior:
    r"""The posterior of a linear system observed linearly, from its matrices alone.

    With the transition matrix :math:`A` and :math:`H_t` the observed rows of :math:`H`,

    .. math::
        P_0^{-1} = B^{-1} + \sum_t (H_t A^t)^T R_t^{-1} H_t A^t, \qquad
        m_0 = x_b + P_0 \sum_t (H_t A^t)^T R_t^{-1} (y_t - H_t A^t x_b),

    then :math:`m_t = A^t m_0` and :math:`P_t = A^t P_0 (A^t)^T`. Shares no code with the methods it judges.

    Args:
        problem: A problem whose system is linear and whose operator is linear.
        window: The windows, with one batch dimension ``case``.

    Returns:
        The posterior.
    """
    if not isinstance(problem.system, LinearAdvection):
        raise TypeError(f"the exact posterior needs a linear system, not {type(problem.system).__name__}")
    transition = problem.system.transition()
    basis = torch.eye(len(transition)).unflatten(-1, problem.shape)
    operator = problem.observation.operator(basis).flatten(1).mT
    # A negative multiple, because the absolute value doubles with its argument.
    scaled = problem.observation.operator(-2 * basis).flatten(1).mT
    if not torch.allclose(scaled, -2 * operator):
        raise TypeError("the exact posterior needs a linear observation operator")

    background = window.background.flatten(1)
    precision = torch.diag_embed(window.background_std.flatten(1) ** -2)
    information = torch.zeros_like(background)
    power = torch.eye(len(transition))
    for t in range(problem.window):
        y = window.y[:, t].flatten(1)
        weight = torch.where(y.isnan(), 0, window.std[:, t].flatten(1) ** -2)
        forward = operator @ power
        precision = precision + torch.einsum("mi,cm,mj->cij", forward, weight, forward)
        innovation = y.nan_to_num() - background @ forward.mT
        information = information + torch.einsum("mi,cm->ci", forward, weight * innovation)
        power = transition @ power

    covariance = torch.linalg.inv(precision)
    mean = background + torch.einsum("cij,cj->ci", covariance, information)
    means, covariances = [], []
    for _ in range(problem.steps):
        means.append(mean)
        covariances.append(covariance)
        mean, covariance = mean @ transition.mT, transition @ covariance @ transition.mT
    return GaussianPosterior(torch.stack(means, dim=1), torch.stack(covariances, dim=1))
