"""Checks of draws that take the model: the likelihood of observations, the transform of new ones, and the dynamics."""

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor

from .chunks import chunks
from .draws import Ensemble, Twin
from .problem import Problem
from .window import Window


@torch.no_grad()
def log_likelihood(problem: Problem, window: Window, ensemble: Ensemble) -> Tensor | None:
    """The log-likelihood of each draw, with shape ``(samples, case)``; None if draws do not cover what was observed."""
    if ensemble.steps.start > 0:
        return None
    # Draw by draw: operators may need more memory than the draws themselves.
    draws = ensemble.x[:, :, : problem.length]
    return torch.stack([problem.observation.log_prob(window.y, x, window.std) for x in draws])


@torch.no_grad()
def predictive_pit(problem: Problem, truth: Twin, ensemble: Ensemble) -> Tensor:
    r"""The probability integral transform of new observations under the posterior predictive,

    .. math:: u = \frac{1}{S} \sum_s F(y' \mid H(x_s)), \qquad y' \sim p(y' | H(x)) ,

    with the cumulative distribution :math:`F` of the noise: uniform on [0, 1] in the limit of many draws of a
    calibrated posterior. Entries are those that were observed, with the same standard deviations, but new noise: the
    posterior has seen the old.

    Args:
        problem: The problem.
        truth: The draws of the joint.
        ensemble: The draws from the posterior.

    Returns:
        The transform, with shape ``(case, time, *obs_shape)`` for the times of the ensemble, NaN where nothing was
        observed.
    """
    operator, (first, end) = problem.observation.operator, (ensemble.steps.start, problem.length)
    std = torch.where(truth.window.y.isnan(), torch.nan, truth.window.std)[:, first:end]
    noise = problem.observation.noise
    y = noise.sample(operator(truth.x[:, first:end]), std)
    u = torch.zeros_like(y)
    largest = max(prod(problem.shape), prod(problem.observation.shape))
    for chunk in chunks(len(ensemble.x), y.shape[0] * y.shape[1] * largest, y.device):
        seen = operator(ensemble.x[chunk, :, : end - first])
        u += noise.cdf(y, seen, std).sum(dim=0)
    missing = u.new_full((len(u), len(ensemble.steps) - u.shape[1], *u.shape[2:]), torch.nan)
    return torch.cat((u / len(ensemble.x), missing), dim=1)


@torch.no_grad()
def model_residual(problem: Problem, window: Window, ensemble: Ensemble) -> Tensor:
    r"""The distance of each state of the draws from what the model makes of the one before,

    .. math:: \Big( \frac{1}{S n} \sum_s \| x_{t, s} - M(x_{t - 1, s}; \theta_s) \|^2 \Big)^{1/2} ,

    a root mean square over draws and the :math:`n` entries of the state: zero for trajectories of the model, and the
    standard deviation of model errors where there are some. Of a stochastic system, it is that of a step without noise.

    Args:
        problem: The problem.
        window: The windows, with one batch dimension ``case``.
        ensemble: The draws from the posterior.

    Returns:
        The distance, with shape ``(case, time)`` for the times of the ensemble, NaN at the first.
    """
    x = ensemble.x
    squares = x.new_full(x.shape[1:3], torch.nan)
    squares[:, 1:] = 0
    for error in _errors(problem, window, ensemble):
        squares[:, 1:] += error.square().flatten(3).mean(dim=-1).sum(dim=0)
    return (squares / len(x)).sqrt()


@torch.no_grad()
def transition_gap(problem: Problem, window: Window, ensemble: Ensemble) -> Tensor | None:
    r"""The log-density of the transitions of each draw, less what it is on average for trajectories of the model,

    .. math:: \log p(x_{1:T} | x_0, \theta) - E \log p(x_{1:T} | x_0, \theta)
        = -\frac{1}{2} \sum_t \left( \| Q^{-1/2} (x_t - M(x_{t - 1}; \theta)) \|^2 - n \right) ,

    zero on average for draws from the posterior of draws of the joint: below, draws are rougher than the model, above
    smoother.

    Args:
        problem: The problem.
        window: The windows, with one batch dimension ``case``.
        ensemble: The draws from the posterior.

    Returns:
        The difference, with shape ``(samples, case)``, in nats; None if transitions have no density, because the model
        has no error in every entry, or if draws are not trajectories from the first state on.
    """
    root = None if problem.system.stochastic else problem.error_root(ensemble.x)
    if root is None or not root.full or len(ensemble.steps) < 2 or ensemble.steps.start > 0 or problem.cycles > 1:
        return None
    found = [-0.5 * (root.inverse(e).square() - 1).flatten(2).sum(dim=-1) for e in _errors(problem, window, ensemble)]
    return torch.cat(found)


def _errors(problem: Problem, window: Window, ensemble: Ensemble) -> Iterator[Tensor]:
    """What the model does not say of each state given the one before, ``(samples, case, time, *shape)``, in parts."""
    x, theta = ensemble.x, ensemble.theta
    first = window.start.unsqueeze(-1) + ensemble.steps.start
    times = first + torch.arange(x.shape[2] - 1, dtype=first.dtype, device=first.device)
    for chunk in chunks(len(x), x[0].numel(), x.device):
        before, after = x[chunk, :, :-1], x[chunk, :, 1:]
        system = problem.system_at(theta[chunk, :, None].expand(*before.shape[:3], -1), times)
        yield after - system.rollout(before, 1, problem.no_noise(before, *before.shape[:3], 1)).select(3, 1)
