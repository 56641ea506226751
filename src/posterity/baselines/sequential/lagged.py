"""4DVAR in sliding windows, with a static background covariance."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, get_args

import torch
from torch import Tensor

from ...problems import Joint
from ...problems.climatology import climatological_moments
from ...systems import jacobian
from ...tensors import identity
from ..variational.fourdvar import gaussian_draws
from .record import Record, Sequential
from .threedvar import check_static_covariance, first_guess, whitened_jacobian


class GaussNewtonModel(NamedTuple):
    """Gauss–Newton model of the cost of a sliding window.

    Args:
        cost: The cost, with shape ``(case,)``; infinite where the model diverged.
        gradient: Its gradient, with shape ``(case, rank)``.
        hessian: Its Gauss–Newton Hessian, with shape ``(case, rank, rank)``.
        path: The trajectory, with shape ``(case, times, size)``.
        tangent: Its derivative with respect to the control, with shape ``(case, times, size, rank)``.
    """

    cost: Tensor
    gradient: Tensor
    hessian: Tensor
    path: Tensor
    tangent: Tensor


@dataclass(frozen=True)
class LaggedFourDVar(Sequential):
    r"""Lagged 4DVAR in sliding windows: the state :math:`L` windows before the end of the newest one is

    .. math::
        x = x^f + (s B_{clim})^{1/2} \hat w, \qquad
        \hat w = \arg\min_w \tfrac12 \|w\|^2 + \tfrac12 \sum_t \|H(x_t(w)) - y_t\|^2_{R_t^{-1}} ,

    with the sum over the newest window of the problem alone: each observation is assimilated once, and what earlier
    ones said is in :math:`x^f`, the state at that time of the trajectory found before. Its covariance is taken to be
    the climatological one, times :math:`s`, however much was observed. Strong constraint.

    Members are draws of the Laplace approximation, carried along the trajectory by its tangents: at each time, their
    mean is the trajectory. States of the newest window target :math:`p(x_t | y_{0:T}, x_b)` with :math:`T` its end,
    with a prior that forgets how well the past was known: an approximation under either joint.

    Args:
        problem: The problem.
        members: The number of draws around each analysis.
        lag: The number of windows :math:`L` from the estimated state to the end of the newest one.
        scale: The factor :math:`s` of the climatological covariance.
        draws: The number of climatological states that it is estimated from.
        iterations: The most Levenberg–Marquardt iterations.
        tolerance: The length of a step, in standard deviations of the prior, below which a case has converged.

    References:
        | Joint state and parameter estimation with an iterative ensemble Kalman smoother (Bocquet & Sakov, 2013),
          https://doi.org/10.5194/npg-20-803-2013
    """

    joints: ClassVar[tuple[Joint, ...]] = get_args(Joint)
    differentiates: ClassVar[tuple[str, ...]] = ("system", "operator")

    lag: int = 1
    scale: float = 1.0
    draws: int = 1000
    iterations: int = 10
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        """Checks lag and iteration options, and that the constraint is strong."""
        super().__post_init__()
        check_static_covariance(self.scale, self.draws)
        if self.lag < 1:
            raise ValueError(f"lag: at least one window is needed, not {self.lag}; use 3DVAR for none")
        if self.iterations < 1:
            raise ValueError(f"iterations: at least one is needed, not {self.iterations}")
        if self.tolerance <= 0:
            raise ValueError(f"tolerance: must be positive, not {self.tolerance}")
        if self.problem.weak:
            raise ValueError("model_error: only the strong constraint is supported; remove it, or use another method")

    @property
    def steps(self) -> range:
        """All times."""
        return range(self.problem.steps)

    def run(self, record: Record) -> Iterator[Tensor]:
        """Minimises window by window; behind the record there is the forecast of the draws."""
        record.info["iterations"] = record.y.new_zeros(record.cases)
        climatology = climatological_moments(self.problem, record.window.start, self.draws)
        factor = self.scale**0.5 * climatology.root.mT
        z, first, window = first_guess(record, climatology.mean), 0, self.problem.window
        for start in range(0, self.problem.length, window):
            last = start + window - 1
            best, u = self.minimise(record, z, factor, first, range(start, last + 1))
            draws = gaussian_draws(torch.zeros_like(u), best.hessian, self.members)
            for i in range(start - first, last + 1 - first):
                yield member_states(best, draws, i)
            following = max(0, last + window * (1 - self.lag))
            (z,) = record.replace_failed(best.path[:, min(following, last) - first].unsqueeze(0))
            first = following
        z = member_states(best, draws, -1)
        for _ in range(self.problem.forecast):
            (z,) = record.replace_failed(record.forecast(z))
            yield z
        record.info["iterations"] /= self.problem.cycles

    def minimise(
        self, record: Record, z: Tensor, factor: Tensor, first: int, times: range
    ) -> tuple[GaussNewtonModel, Tensor]:
        """Minimises the cost of one window by Levenberg–Marquardt.

        Args:
            record: The record.
            z: The background of the first state, with shape ``(1, case, size)``.
            factor: The roots of its covariances, with shape ``(case, size, rank)``.
            first: The time of the first state.
            times: The times whose observations are assimilated.

        Returns:
            The model at the minimum, and the control there, with shape ``(case, rank)``.
        """
        u = factor.new_zeros(record.cases, factor.shape[-1])
        best = linearize(record, z, factor, u, first, times)
        damping = torch.zeros_like(best.cost)
        eye = identity(best.hessian, factor.shape[-1])
        active = best.cost.isfinite()
        for _ in range(self.iterations):
            record.info["iterations"] += active
            root = torch.linalg.cholesky_ex(best.hessian + damping.double().reshape(-1, 1, 1) * eye).L
            step = -torch.cholesky_solve(best.gradient.double().unsqueeze(-1), root).squeeze(-1).to(u)
            trial = torch.where(active.unsqueeze(-1), u + step, u)
            there = linearize(record, z, factor, trial, first, times)
            better = active & (there.cost <= best.cost)
            damping = torch.where(better, damping / 10, 10 * damping.clamp(min=0.1))
            u = torch.where(better.unsqueeze(-1), trial, u)
            moved = better.nonzero().squeeze(-1)
            best = GaussNewtonModel(
                *(old.index_copy(0, moved, new[moved]) for old, new in zip(best, there, strict=True))
            )
            active = active & (step.square().sum(dim=-1) > self.tolerance**2)
            if not active.any():
                break
        return best, u


def member_states(model: GaussNewtonModel, draws: Tensor, time: int) -> Tensor:
    """The states at one time of draws of the control, by its tangents, with shape ``(members, case, size)``.

    Args:
        model: The model at the minimum.
        draws: Draws of the control around it, with shape ``(members, case, rank)``.
        time: The number of the time on the trajectory.
    """
    return model.path[:, time] + torch.einsum("cnk,mck->mcn", model.tangent[:, time], draws)


def linearize(record: Record, z: Tensor, factor: Tensor, u: Tensor, first: int, times: range) -> GaussNewtonModel:
    """The cost of a sliding window and its Gauss–Newton model, from the tangents of all steps in one batch.

    Args:
        record: The record.
        z: The background of the first state, with shape ``(1, case, size)``.
        factor: The roots of its covariances, with shape ``(case, size, rank)``.
        u: The control, with shape ``(case, rank)``.
        first: The time of the first state.
        times: The times whose observations are assimilated.

    Returns:
        The model.
    """
    steps = times[-1] - first
    path = record.rollout(z + torch.einsum("cnk,ck->cn", factor, u), steps)
    states = path[0].movedim(1, 0)
    tangent = [factor]
    if steps:
        for step in jacobian(record.forecast, states[:-1], 1)[1]:
            tangent.append(step @ tangent[-1])
    slope, misfit = u.new_zeros(record.cases, 0, u.shape[1]), u.new_zeros(record.cases, 0)
    for t in filter(record.has_observations, times):
        slope = torch.cat((slope, whitened_jacobian(record, t, states[t - first]) @ tangent[t - first]), dim=1)
        misfit = torch.cat((misfit, record.innovation(path[:, :, t - first], t)[0]), dim=1)
    cost = 0.5 * (u.square().sum(dim=-1) + misfit.square().sum(dim=-1))
    exact = slope.double()
    return GaussNewtonModel(
        cost.nan_to_num(nan=torch.inf),
        u - (exact.mT @ misfit.double().unsqueeze(-1)).squeeze(-1).to(u),
        identity(exact, factor.shape[-1]) + exact.mT @ exact,
        path[0],
        torch.stack(tangent, dim=1),
    )
