"""The weak-constraint control in states instead of model errors, in which the posterior is a Markov chain."""

from typing import ClassVar, Self

import torch
from torch import Tensor

from ..algebra import Tridiagonal
from .control import Control
from .covariances.scaling import error_root
from .linearized.markov import linear_chain
from .linearized.model import Linearization
from .problem import Problem
from .window import Window


class StateControl(Control):
    r"""Weak-constraint control with states instead of model errors, :math:`z = (z_0, v, z_1, …, z_{T-1})`:

    .. math::
        x_0 = x_b + B^{1/2} z_0, \qquad \theta = f(v), \qquad x_t = m_t + Q^{1/2} z_t ,

    where :math:`m_t` is the trajectory of the background without errors, so that zero is the same trajectory in both
    controls. The cost is that of the other control,

    .. math::
        J(z) = \tfrac12 \|z_0\|^2 + \tfrac12 \|v\|^2 + \tfrac12 \sum_t \|x_{t+1} - M(x_t; \theta)\|^2_{Q^{-1}}
            + \tfrac12 \sum_t \|H(x_t) - y_t\|^2_{R_t^{-1}} ,

    and so is the density: :math:`w_t = z_{t+1} - Q^{-1/2}(M(x_t; \theta) - m_{t+1})` is triangular in :math:`z`, with
    ones on its diagonal. Each term sees two states that follow each other, and the parameters: the Hessian is
    block-tridiagonal in time, but for rows and columns of the parameters. Nothing is chained, so all steps of the
    model run as one batch, and none can diverge by the length of the window.

    Args:
        problem: The problem, of one cycle.
        window: The windows, with one batch dimension ``case``.
        origin: The trajectories from the backgrounds without errors, in double precision, with shape ``(case, states,
            *shape)``; None to run the model.

    Raises:
        ValueError: If some state, or some entry of it, has no error, or the whitened initial state has another size.

    References:
        | Accounting for an imperfect model in 4D-Var (Trémolet, 2006), https://doi.org/10.1256/qj.05.224
    """

    #: The prior is a chain of states, and part of the residual.
    white: ClassVar[bool] = False

    def __init__(self, problem: Problem, window: Window, origin: Tensor | None = None) -> None:
        super().__init__(problem, window)
        if problem.system.stochastic:
            raise ValueError(
                f"system: coordinates of the trajectory need the density of the next state given this one, and nobody "
                f"knows that of {type(problem.system).__name__}, whose noise acts inside its steps; use another family"
            )
        if self.error_root is None or not self.error_root.full:
            raise ValueError(
                "model_error: coordinates of the trajectory need an error in every entry of the model, since otherwise "
                "the first state determines the others; give the problem a model_error that moves all states, or use "
                "another family"
            )
        if self.entries != self.states:
            raise ValueError(
                f"background_correlation: whitened, the initial state has {self.entries} entries, and coordinates of "
                f"the trajectory need as many as a state has, {self.states}; choose another correlation, or another "
                "family"
            )
        # In double precision, as is all that subtracts trajectories: errors of the model are small beside the states.
        exact = Control(problem, Window(*(field.double() for field in window)))
        if origin is None:
            origin = exact.trajectory(exact.zero(), problem.window)
            self.model_steps += problem.window - 1
        self.origin, self._first, self._later = origin, exact.background_root, error_root(problem, origin)

    def select(self, index: Tensor | slice) -> Self:
        """The control of some of the cases, with its own count of work; see :meth:`Control.select`."""
        return type(self)(self.problem, self.window.select(index), self.origin[index])

    def prior(self, samples: int) -> Tensor:
        """Draws from the prior, with shape ``(samples, case, size)``."""
        return self.encode(*super().decode(self.noise(samples).double()))

    def trajectory(self, u: Tensor, states: int) -> Tensor:
        """The first ``states`` states of the window, with shape ``(*batch, case, states, *shape)``."""
        first = u[..., : self.entries].unflatten(-1, self._first.shape).double()
        later = u[..., self.known :].unflatten(-1, (self.problem.window - 1, *self._later.shape)).double()
        initial = self._first.move(self.origin[:, 0], first).unsqueeze(u.ndim - 1)
        x = torch.cat((initial, self._later.move(self.origin[:, 1:], later)), dim=u.ndim - 1)
        return x.to(u).narrow(u.ndim - 1, 0, states)

    def decode(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Maps controls to trajectories and parameters; see :meth:`Control.decode`."""
        x, theta = self.trajectory(u, self.problem.window), self.parameters(u)
        if self.problem.forecast:
            axis = u.ndim - 1
            errors = self.problem.draw_errors(u, *u.shape[:-1], self.problem.forecast)
            system = self.problem.system_at(theta, self.window.start + (self.problem.window - 1))
            behind = system.rollout(x.select(axis, -1), self.problem.forecast, errors)
            self.model_steps += self.problem.forecast * self.members(u)
            x = torch.cat((x, behind.narrow(axis, 1, self.problem.forecast)), dim=axis)
        return x, theta

    def encode(self, x: Tensor, theta: Tensor) -> Tensor:
        """Maps trajectories and parameters to controls; see :meth:`Control.encode`."""
        axis = x.ndim - len(self.problem.shape) - 1
        moved = x.narrow(axis, 0, self.problem.window) - self.origin
        first = self._first.inverse(moved.select(axis, 0)).flatten(axis)
        later = self._later.inverse(moved.narrow(axis, 1, self.problem.window - 1)).flatten(axis)
        return torch.cat((first, self.problem.encode_parameters(theta), later), dim=-1).to(self.window.background)

    def whiten(self, u: Tensor) -> Tensor:
        """Converts to the control of model errors, :class:`Control`.

        Args:
            u: The controls, with shape ``(*batch, case, size)``.

        Returns:
            The controls of the same trajectories and parameters in :class:`Control`, with the same shape.
        """
        exact = u.double()
        x = self.trajectory(exact, self.problem.window)
        self.model_steps += (self.problem.window - 1) * self.members(u)
        errors = self._whitened_errors(self._later, x, self.parameters(exact)).to(u)
        return torch.cat((u[..., : self.known], errors.flatten(u.ndim - 1)), dim=-1)

    def cost(self, u: Tensor, states: int | None = None) -> Tensor:
        """The 4DVAR cost, with shape ``(*batch, case)``; infinite where a step diverged."""
        prior = 0.5 * self.whiten(u).square().sum(dim=-1)
        return prior.nan_to_num(nan=torch.inf, posinf=torch.inf) + self.misfit(u, states)

    def residual(self, u: Tensor, states: int) -> Tensor:
        """What the cost is the sum of squares of: :meth:`whiten`, then :meth:`mismatch`, side by side."""
        return torch.cat((self.whiten(u), self.mismatch(u, states)), dim=-1)

    def quadratic(self, u: Tensor, states: int) -> Linearization:
        """Cost, gradient and Gauss–Newton Hessian as matrices; see :meth:`Control.quadratic`."""
        hessian = self.hessian(u, states).assemble(u.flatten(0, -2).double())
        return Linearization(*self.cost_and_gradient(u, states), hessian.unflatten(0, u.shape[:-1]))

    def hessian(self, u: Tensor, states: int) -> Tridiagonal:
        """The Gauss–Newton Hessian, block-tridiagonal in time; see :meth:`Control.hessian`."""
        chain, seen = linear_chain(self, u, states)
        return chain.precision(seen)
