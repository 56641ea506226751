"""The weak-constraint control in states instead of model errors, in which the posterior is a Markov chain."""

from math import prod

import torch
from torch import Tensor

from ..systems import jacobian
from ..tensors import identity, white_noise
from .control import Control, Linearization
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

    Raises:
        ValueError: If some entry of the model has no error.

    References:
        | Accounting for an imperfect model in 4D-Var (Trémolet, 2006), https://doi.org/10.1256/qj.05.224
    """

    def __init__(self, problem: Problem, window: Window) -> None:
        super().__init__(problem, window)
        if not (self.error_std > 0).all():
            raise ValueError(
                "model_error: coordinates of the trajectory need an error in every entry of the model, since otherwise "
                "the first state determines the others; give the problem a model_error, or use another family"
            )
        # In double precision, as is all that subtracts trajectories: errors of the model are small beside the states.
        exact = Control(problem, Window(*(field.double() for field in window)))
        self.origin = exact.trajectory(exact.zero(), problem.window)
        self.model_steps += problem.window - 1
        later = exact.error_std.expand(self.cases, problem.window - 1, *problem.shape)
        self.scale = torch.cat((exact.window.background_std.unsqueeze(1), later), dim=1)

    def prior(self, samples: int) -> Tensor:
        """Draws from the prior, with shape ``(samples, case, size)``."""
        return self.encode(*super().decode(self.noise(samples).double()))

    def trajectory(self, u: Tensor, states: int) -> Tensor:
        """The first ``states`` states of the window, with shape ``(*batch, case, states, *shape)``."""
        window = (self.problem.window, *self.problem.shape)
        z = torch.cat((u[..., : self.entries], u[..., self.known :]), dim=-1).unflatten(-1, window)
        return torch.addcmul(self.origin, self.scale, z.double()).to(u).narrow(u.ndim - 1, 0, states)

    def decode(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Maps controls to trajectories and parameters; see :meth:`Control.decode`."""
        x, theta = self.trajectory(u, self.problem.window), self.parameters(u)
        if self.problem.forecast:
            axis = u.ndim - 1
            fresh = white_noise(u, *u.shape[:-1], self.problem.forecast, *self.problem.shape)
            system = self.problem.system_at(theta)
            behind = system.rollout(x.select(axis, -1), self.problem.forecast, self.error_std * fresh)
            self.model_steps += self.problem.forecast * self._members(u)
            x = torch.cat((x, behind.narrow(axis, 1, self.problem.forecast)), dim=axis)
        return x, theta

    def encode(self, x: Tensor, theta: Tensor) -> Tensor:
        """Maps trajectories and parameters to controls; see :meth:`Control.encode`."""
        axis = x.ndim - len(self.problem.shape) - 1
        z = ((x.narrow(axis, 0, self.problem.window) - self.origin) / self.scale).flatten(axis)
        z = torch.cat((z[..., : self.entries], self.problem.encode_parameters(theta), z[..., self.entries :]), -1)
        return z.to(self.window.background)

    def whiten(self, u: Tensor) -> Tensor:
        """Converts to the control of model errors, :class:`Control`.

        Args:
            u: The controls, with shape ``(*batch, case, size)``.

        Returns:
            The controls of the same trajectories and parameters in :class:`Control`, with the same shape.
        """
        exact = u.double()
        x = self.trajectory(exact, self.problem.window)
        self.model_steps += (self.problem.window - 1) * self._members(u)
        errors = self._whitened_errors(x, self.parameters(exact)).to(u)
        return torch.cat((u[..., : self.known], errors.flatten(u.ndim - 1)), dim=-1)

    def cost(self, u: Tensor, states: int | None = None) -> Tensor:
        """The 4DVAR cost, with shape ``(*batch, case)``; infinite where a step diverged."""
        prior = 0.5 * self.whiten(u).square().sum(dim=-1)
        return prior.nan_to_num(nan=torch.inf, posinf=torch.inf) + self.misfit(u, states)

    def linearize(self, u: Tensor, states: int | None = None) -> Linearization:
        """The cost with its Gauss–Newton model; see :meth:`Control.linearize`."""
        states = self.problem.window if states is None else states
        axis, steps, event = u.ndim - 1, self.problem.window - 1, len(self.problem.shape)
        x = self.trajectory(u, self.problem.window)
        scale = self.scale.flatten(2).to(u)
        # What each state and the parameters do to the errors of the model …
        self.model_steps += steps * self._members(u)
        tangents = self._step_jacobian(u, x.narrow(axis, 0, steps)) / self.error_std.flatten().unsqueeze(-1)
        onward = tangents[..., : self.entries] * scale[:, :-1].unsqueeze(-2)
        whitening = identity(u, self.size).repeat(*u.shape[:-1], 1, 1)
        # … and to the observations.
        h, slope = jacobian(self.problem.observation.operator, x, event, len(self.problem.observation.shape))
        assimilated = torch.arange(self.problem.window, device=u.device) < states
        precision = self.precision.flatten(2) * assimilated.unsqueeze(-1)
        slope = slope * precision.unsqueeze(-1) * scale.unsqueeze(-2)
        seen = prod(self.problem.observation.shape)
        sensitivity = u.new_zeros(*u.shape[:-1], self.problem.window * seen, self.size)
        for t, block in enumerate(self.blocks()):
            sensitivity[..., t * seen : (t + 1) * seen, block] = slope.select(axis, t)
            if t < steps:
                later = self.blocks()[t + 1]
                whitening[..., later, block] = -onward.select(axis, t)
                whitening[..., later, self.entries : self.known] = -tangents.select(axis, t)[..., self.entries :]
        white = self.whiten(u)
        misfit = ((h.flatten(axis + 1) - self.y.flatten(2)) * precision).flatten(-2)
        residual = torch.cat((white, misfit), dim=-1)
        rows = torch.cat((whitening, sensitivity), dim=-2)
        self.gradients += self.entries * self._members(u)
        cost = 0.5 * residual.square().sum(dim=-1)
        return Linearization(
            cost.nan_to_num(nan=torch.inf, posinf=torch.inf),
            (rows.mT @ residual.unsqueeze(-1)).squeeze(-1),
            rows.double().mT @ rows.double(),
        )

    def blocks(self) -> list[slice]:
        """The slice of each state in the control."""
        later = range(self.known, self.size, self.entries)
        return [slice(0, self.entries), *(slice(start, start + self.entries) for start in later)]
