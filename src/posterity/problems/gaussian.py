"""The exact posterior of linear-Gaussian problems, against which every method is tested."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..systems import LinearAdvection
from .problem import Problem, Window


class GaussianPosterior(NamedTuple):
    r"""Gaussian distribution of trajectories, :math:`x = m + \Phi\, C^{-T} \varepsilon`.

    Args:
        mean: The means :math:`E[x_t | y]`, with shape ``(case, steps, n)``.
        factor: The roots :math:`\Phi_t C^{-T}` of the covariances, with shape ``(case, steps, n, m)``: what ``m`` white
            noises do to each state.
    """

    mean: Tensor
    factor: Tensor

    @property
    def covariance(self) -> Tensor:
        r"""The covariances :math:`\mathrm{Cov}[x_t | y]`, with shape ``(case, steps, n, n)``."""
        return self.factor @ self.factor.mT

    def sample(self, samples: int) -> Tensor:
        """Draws trajectories, with shape ``(samples, case, steps, n)``."""
        noise = torch.randn(samples, *self.factor.shape[:1], 1, self.factor.shape[-1], 1).to(self.factor)
        return self.mean + (self.factor @ noise).squeeze(-1)


def exact_posterior(problem: Problem, window: Window) -> GaussianPosterior:
    r"""The posterior of a linear system observed linearly, from its matrices alone.

    With the transition matrix :math:`A`, trajectories are linear in the whitened control :math:`u = (u_0, w)`,
    :math:`x_t = A^t x_b + \Phi_t u`, where :math:`\Phi_0 = (B^{1/2}, 0)` and :math:`\Phi_{t+1} = A \Phi_t + (0, …,
    Q^{1/2}, …, 0)`. With :math:`H_t` the observed rows of :math:`H`,

    .. math::
        C C^T = I + \sum_t (H_t \Phi_t)^T R_t^{-1} H_t \Phi_t, \qquad
        m_u = (C C^T)^{-1} \sum_t (H_t \Phi_t)^T R_t^{-1} (y_t - H_t A^t x_b) .

    Shares no code with the methods that are tested against it.

    Args:
        problem: A problem of one cycle and known parameters, whose system and operator are linear.
        window: The windows, with one batch dimension ``case``.

    Returns:
        The posterior, of window and forecast.

    Raises:
        TypeError: If something is not linear, or not known, or there are several windows.
    """
    transition, operator = check_linear(problem)
    means, maps = _prior(problem, window, transition)
    seen = operator @ maps[:, : problem.window]
    y = window.y.flatten(2)
    innovation = y.nan_to_num() - means[:, : problem.window] @ operator.mT
    weight = torch.where(y.isnan(), 0, window.std.flatten(2) ** -2)
    precision = torch.eye(maps.shape[-1]) + torch.einsum("ctmi,ctm,ctmj->cij", seen, weight, seen)
    information = torch.einsum("ctmi,ctm->ci", seen, weight * innovation)
    root = torch.linalg.cholesky(precision)
    mean = torch.cholesky_solve(information.unsqueeze(-1), root)
    factor = torch.linalg.solve_triangular(root.unsqueeze(1), maps.mT, upper=False).mT
    return GaussianPosterior(means + (maps @ mean.unsqueeze(1)).squeeze(-1), factor)


def check_linear(problem: Problem) -> tuple[Tensor, Tensor]:
    """Checks that a problem is linear, and returns its matrices.

    Args:
        problem: The problem.

    Returns:
        The transition matrix, with shape ``(n, n)``, and that of the operator, with shape ``(m, n)``.

    Raises:
        TypeError: If something is not linear, or not known, or there are several windows.
    """
    if not isinstance(problem.system, LinearAdvection):
        raise TypeError(f"the exact posterior needs a linear system, not {type(problem.system).__name__}")
    if problem.parameters:
        raise TypeError("the exact posterior needs known parameters; remove the unknown ones")
    if problem.cycles > 1:
        raise TypeError("the exact posterior is that of one window; set cycles to 1")
    transition = problem.system.transition()
    basis = torch.eye(len(transition)).unflatten(-1, problem.shape)
    operator = problem.observation.operator(basis).flatten(1).mT
    # A negative multiple, because the absolute value doubles with its argument.
    scaled = problem.observation.operator(-2 * basis).flatten(1).mT
    if not torch.allclose(scaled, -2 * operator):
        raise TypeError("the exact posterior needs a linear observation operator")
    return transition, operator


def _prior(problem: Problem, window: Window, transition: Tensor) -> tuple[Tensor, Tensor]:
    r"""The prior means :math:`A^t x_b` and the maps :math:`\Phi_t`, with shapes ``(case, steps, n)``, ``(…, n, m)``."""
    n, steps = len(transition), problem.steps
    errors = torch.diag_embed(problem.error_std().flatten())
    mean = window.background.flatten(1)
    columns = n * steps if problem.weak else n
    forward = torch.zeros(len(mean), n, columns)
    forward[..., :n] = torch.diag_embed(window.background_std.flatten(1))
    means, maps = [mean], [forward]
    for t in range(1, steps):
        mean, forward = mean @ transition.mT, transition @ forward
        if problem.weak:
            forward[..., n * t : n * (t + 1)] = errors
        means.append(mean)
        maps.append(forward)
    return torch.stack(means, dim=1), torch.stack(maps, dim=1)
