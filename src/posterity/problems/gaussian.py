"""The exact posterior of linear-Gaussian problems, against which every method is tested."""

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from ..systems import LinearAdvection
from ..tensors import defaults_of, identity, white_noise
from .covariances import Correlation
from .problem import Problem
from .window import Window


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
        noise = white_noise(self.factor, samples, *self.factor.shape[:1], 1, self.factor.shape[-1], 1)
        return self.mean + (self.factor @ noise).squeeze(-1)


def exact_posterior(problem: Problem, window: Window) -> GaussianPosterior:
    r"""The posterior of a linear system observed linearly, from its matrices alone.

    With the transition matrix :math:`A`, trajectories are linear in white noise :math:`u = (u_0, w)`,
    :math:`x_t = m_t + \Phi_t u`, where :math:`m_{t+1} = A m_t` and :math:`\Phi_{t+1} = A \Phi_t + (0, …, Q^{1/2}, …,
    0)`. Under the background joint :math:`m_0 = x_b` and :math:`\Phi_0 = (B^{1/2}, 0)`. Under the climatology joint the
    ensemble has come from :math:`N(0, I)` in :math:`s` steps, the start of the window: :math:`m_0 = 0` and
    :math:`\Phi_0 = (A^s, 0)`, and a background is one more observation of :math:`x_0`. With :math:`H_t` the observed
    rows of :math:`H`,

    .. math::
        C C^T = I + \sum_t (H_t \Phi_t)^T R_t^{-1} H_t \Phi_t, \qquad
        E[u | y] = (C C^T)^{-1} \sum_t (H_t \Phi_t)^T R_t^{-1} (y_t - H_t m_t) .

    Computed in double precision. Shares no code with the methods that are tested against it.

    Args:
        problem: A problem of one cycle and known parameters, whose system and operator are linear.
        window: The windows, with one batch dimension ``case``.

    Returns:
        The posterior, of window and forecast, in the dtype of the windows.

    Raises:
        TypeError: If something is not linear, or not known, or there are several windows.
        ValueError: If a case has no background, and its joint needs one.
    """
    transition, operator = (matrix.to(window.y.device) for matrix in check_linear(problem))
    exact = Window(*(field.double() for field in window))
    if problem.joint == "background" and exact.background.isnan().any():
        raise ValueError("background: missing, and the background joint has one; give all cases a background")
    means, maps = _prior(problem, exact, transition)
    seen = operator @ maps[:, : problem.window]
    precision, information = _inform(seen, exact.y, exact.std, means[:, : problem.window] @ operator.mT)
    if problem.joint == "climatology":
        more = _inform_of_background(problem, exact, means[:, :1], maps[:, :1])
        precision, information = precision + more[0], information + more[1]
    root = torch.linalg.cholesky(identity(precision, maps.shape[-1]) + precision)
    mean = torch.cholesky_solve(information.unsqueeze(-1), root)
    factor = torch.linalg.solve_triangular(root.unsqueeze(1), maps.mT, upper=False).mT
    return GaussianPosterior((means + (maps @ mean.unsqueeze(1)).squeeze(-1)).to(window.y), factor.to(window.y))


def _inform_of_background(problem: Problem, window: Window, mean: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """What backgrounds add as observations of the initial state; see :func:`_inform`."""
    if problem.background_correlation is None:
        return _inform(seen, window.background.unsqueeze(1), window.background_std.unsqueeze(1), mean)
    # In coordinates in which their errors are white.
    std = window.background_std.flatten(1)
    whitening = torch.linalg.pinv(_correlation_root(problem, std, problem.background_correlation), rtol=1e-5)
    whitening = torch.where(window.free.reshape(-1, 1, 1), 0, whitening) / std.unsqueeze(-2)
    y = (whitening @ window.background.flatten(1).unsqueeze(-1)).mT
    return _inform(whitening.unsqueeze(1) @ seen, y, torch.ones_like(y), mean @ whitening.mT)


def _correlation_root(problem: Problem, like: Tensor, correlation: Correlation | None) -> Tensor:
    """The symmetric root of a correlation, by its matrix, with shape ``(n, n)``."""
    if correlation is None:
        return identity(like, prod(problem.shape))
    values, vectors = torch.linalg.eigh(correlation.matrix(problem).to(like))
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.mT


def _inform(seen: Tensor, y: Tensor, std: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """What observations add to precision and information of the noise.

    Args:
        seen: What the noise does to what is observed, with shape ``(case, times, m, columns)``.
        y: The observations, with shape ``(case, times, …)``, ``m`` entries at each time; NaN where missing.
        std: Their standard deviations, with the same shape.
        mean: What they are without noise, with shape ``(case, times, m)``.

    Returns:
        The precision, with shape ``(case, columns, columns)``, and the information, ``(case, columns)``.
    """
    y = y.flatten(2)
    weight = torch.where(y.isnan(), 0, std.flatten(2) ** -2)
    precision = torch.einsum("ctmi,ctm,ctmj->cij", seen, weight, seen)
    return precision, torch.einsum("ctmi,ctm->ci", seen, weight * (y.nan_to_num() - mean))


def check_linear(problem: Problem) -> tuple[Tensor, Tensor]:
    """Checks that a problem is linear, and returns its matrices.

    Args:
        problem: The problem.

    Returns:
        The transition matrix, with shape ``(n, n)``, and that of the operator, with shape ``(m, n)``; in double
        precision, on the processor.

    Raises:
        TypeError: If something is not linear, or not known, or there are several windows.
    """
    if not isinstance(problem.system, LinearAdvection):
        raise TypeError(f"the exact posterior needs a linear system, not {type(problem.system).__name__}")
    if problem.parameters:
        raise TypeError("the exact posterior needs known parameters; remove the unknown ones")
    if problem.cycles > 1:
        raise TypeError("the exact posterior is that of one window; set cycles to 1")
    with defaults_of(torch.empty(0, dtype=torch.double, device="cpu")):
        transition = problem.system.transition()
        basis = torch.eye(len(transition)).unflatten(-1, problem.shape)
    operator = problem.observation.operator(basis).flatten(1).mT
    # A negative multiple, because the absolute value doubles with its argument.
    scaled = problem.observation.operator(-2 * basis).flatten(1).mT
    if not torch.allclose(scaled, -2 * operator):
        raise TypeError("the exact posterior needs a linear observation operator")
    return transition, operator


def _prior(problem: Problem, window: Window, transition: Tensor) -> tuple[Tensor, Tensor]:
    r"""The prior means :math:`m_t`, with shape ``(case, steps, n)``, and maps :math:`\Phi_t`, ``(…, n, columns)``."""
    n, steps = len(transition), problem.steps
    std = problem.error_std(window.y).flatten()
    errors = std.unsqueeze(-1) * _correlation_root(problem, std, problem.error_correlation)
    if problem.joint == "background":
        mean, std = window.background.flatten(1), window.background_std.flatten(1)
        root = std.unsqueeze(-1) * _correlation_root(problem, std, problem.background_correlation)
    else:
        root = torch.stack([torch.linalg.matrix_power(transition, int(start)) for start in window.start])
        mean = root.new_zeros(len(root), n)
    columns = n * steps if problem.weak else n
    forward = root.new_zeros(len(mean), n, columns)
    forward[..., :n] = root
    means, maps = [mean], [forward]
    for t in range(1, steps):
        mean, forward = mean @ transition.mT, transition @ forward
        if problem.weak:
            forward[..., n * t : n * (t + 1)] = errors
        means.append(mean)
        maps.append(forward)
    return torch.stack(means, dim=1), torch.stack(maps, dim=1)
