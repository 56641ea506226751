"""4DVAR in sliding windows, with a static background covariance."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self, get_args

import torch
from torch import Tensor

from ...problems import Control, Joint, Problem, Window
from ...problems.covariances.climatology import check_estimate
from ...problems.linearized.hessian import laplace
from ...problems.linearized.solvers import Solver
from ...problems.minimize import check_eigenpairs, check_options, levenberg_marquardt
from ...tensors import white_noise
from .record import Record, Sequential
from .threedvar import first_guess


class SlidingControl(Control):
    r"""Control of a sliding window, in the directions of a static covariance :math:`L L^T` of states and parameters:

    .. math:: x_0 = x^f + L_x u, \qquad v = v^f + L_v u .

    Args:
        problem: The problem, of one cycle as long as the window.
        window: The observations that are assimilated, with the background :math:`x^f`.
        guess: The background :math:`v^f` of the whitened unknown parameters, with shape ``(case, parameters)``.
        root: The roots :math:`L`, with shape ``(case, entries, rank)``, states before parameters.
    """

    def __init__(self, problem: Problem, window: Window, guess: Tensor, root: Tensor) -> None:
        super().__init__(problem, window)
        self.guess = guess
        self.root = root
        self.size = root.shape[-1]

    @classmethod
    def of(cls, record: Record, z: Tensor, root: Tensor, first: int, times: range) -> "SlidingControl":
        """The control of some states of a record.

        Args:
            record: The record.
            z: The background of the first state, with shape ``(case, size)``; a case where it is missing diverges.
            root: The roots of its covariance, with shape ``(case, size, rank)``.
            first: The time of the first state.
            times: The times whose observations are assimilated.
        """
        whole, states = record.problem, slice(first, times.stop)
        part = replace(
            whole.cycle(), window=times.stop - first, forecast=0, observation=replace(whole.observation, masks=())
        )
        x, v = z.nan_to_num(nan=torch.inf).tensor_split([record.states], dim=-1)
        x = x.unflatten(-1, whole.shape)
        y = record.window.y[:, states].clone()
        y[:, : times.start - first] = torch.nan
        std = record.window.std[:, states]
        return cls(part, Window(y, std, x, torch.ones_like(x), record.window.start + first), v, root)

    def select(self, index: Tensor | slice) -> Self:
        """The control of some of the cases, with its own count of work."""
        return type(self)(self.problem, self.window.select(index), self.guess[index], self.root[index])

    def initial(self, u: Tensor) -> Tensor:
        r"""The initial states :math:`x^f + L_x u`, with shape ``(*batch, case, *shape)``."""
        moved = torch.einsum("cnk,...ck->...cn", self.root[:, : self.states], u)
        return self.window.background + moved.unflatten(-1, self.problem.shape)

    def directions(self, du: Tensor) -> tuple[Tensor, Tensor, None]:
        """What directions do to initial states and whitened parameters; see :meth:`.Control.directions`."""
        moved = torch.einsum("cnk,...ck->...cn", self.root, du)
        first, parameters = moved.tensor_split([self.states], dim=-1)
        return first.unflatten(-1, self.problem.shape), parameters, None

    def whitened_parameters(self, u: Tensor) -> Tensor:
        r"""The whitened unknown parameters :math:`v^f + L_v u`, with shape ``(*batch, case, parameters)``."""
        return self.guess + torch.einsum("cnk,...ck->...cn", self.root[:, self.states :], u)


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
        tolerance: The relative decrease of the cost below which a case has converged.
        solver: How steps are solved for; by matrices for small controls and products for large ones if omitted.
        eigenpairs: The directions in which draws differ from those of the static covariance, where this has too many
            for matrices; as many as there are observations of a window at most, which are exact.

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
    tolerance: float = 1e-5
    solver: Solver | None = None
    eigenpairs: int = 128

    def __post_init__(self) -> None:
        """Checks lag and iteration options, and that the constraint is strong."""
        super().__post_init__()
        check_estimate(self.scale, self.draws)
        if self.lag < 1:
            raise ValueError(f"lag: at least one window is needed, not {self.lag}; use 3DVAR for none")
        check_options(self.iterations, 1, self.tolerance, 0, self.solver)
        check_eigenpairs(self.eigenpairs)
        if self.problem.weak:
            raise ValueError(
                "model_error: only the strong constraint is supported; remove it (or take a system without noise), or "
                "use another method"
            )

    @property
    def steps(self) -> range:
        """All times."""
        return range(self.problem.steps)

    def run(self, record: Record) -> Iterator[Tensor]:
        """Minimises window by window; behind the record there is the forecast of the draws."""
        record.info["iterations"] = record.y.new_zeros(record.cases)
        climatology = record.climatology.at(record.window.start, self.draws, self.scale)
        root = climatology.root.mT
        z, first, window = first_guess(record, climatology.mean), 0, self.problem.window
        for start in range(0, self.problem.length, window):
            last = start + window - 1
            path, deviations = self.estimate(record, z[0], root, first, range(start, last + 1))
            for i in range(start - first, last + 1 - first):
                yield path[:, i] + deviations[:, :, i]
            following = max(0, last + window * (1 - self.lag))
            (z,) = record.replace_failed(path[:, min(following, last) - first].unsqueeze(0))
            first = following
        z = path[:, -1] + deviations[:, :, -1]
        for t in range(self.problem.length, self.problem.steps):
            (z,) = record.replace_failed(record.forecast(z, t - 1))
            yield z
        record.info["iterations"] /= self.problem.cycles

    def estimate(self, record: Record, z: Tensor, root: Tensor, first: int, times: range) -> tuple[Tensor, Tensor]:
        """The trajectory of one window, and draws around it.

        Args:
            record: The record.
            z: The background of the first state, with shape ``(case, size)``.
            root: The roots of its covariance, with shape ``(case, size, rank)``.
            first: The time of the first state.
            times: The times whose observations are assimilated.

        Returns:
            The trajectory, with shape ``(case, times, size)``, and the deviations of draws of the Laplace approximation
            from it, by its tangents, with shape ``(members, case, times, size)``.
        """
        control = SlidingControl.of(record, z, root, first, times)
        window = control.problem.window
        minimum = levenberg_marquardt(control, control.zero(), self.iterations, window, self.tolerance, self.solver)
        noise = white_noise(minimum.u, *minimum.u.shape, self.members).movedim(-1, 0)
        draws = laplace(minimum.model, self.eigenpairs).transport(noise).to(noise)
        states = control.trajectory(minimum.u, window).flatten(2)
        changes = minimum.model.states_tangent(draws).flatten(3)
        parameters = control.whitened_parameters(minimum.u)
        around = torch.einsum("cnk,mck->mcn", root[:, record.states :], draws)
        for name in ("model_steps", "gradients"):
            record.info[name] += getattr(control, name)
        record.info["iterations"] += minimum.iterations

        def beside(states: Tensor, parameters: Tensor) -> Tensor:
            """States of all times, with the parameters beside each."""
            return torch.cat((states, parameters.unsqueeze(-2).expand(*states.shape[:-1], -1)), dim=-1)

        return beside(states, parameters), beside(changes, around)
