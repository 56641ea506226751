"""The control: one whitened vector per case, in which all per-case methods work."""

from collections.abc import Iterator
from copy import copy
from math import log, pi, prod
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..algebra import ChainPrecision, Precision
from ..systems.system import System, with_gradient
from ..tensors import white_noise
from .chunks import LARGE, chunks
from .covariances.root import Root, unseen_noise
from .linearized.markov import linear_chain
from .linearized.model import Linearization, LinearModel, matrices
from .linearized.sweeps import descent, misfit
from .observing.noise import check_gaussian_noise
from .problem import Problem
from .window import Window


class Control:
    r"""Whitened control :math:`u = (u_0, v, w_0, …, w_{T-2})` of a window:

    .. math:: x_0 = x_b + B^{1/2} u_0, \qquad \theta = f(v), \qquad x_{t+1} = M(x_t; \theta) + Q^{1/2} w_t .

    Without unknown parameters there is no :math:`v`, and under the strong constraint no :math:`w`. A priori
    :math:`u \sim N(0, I)`, and the posterior is :math:`p(u | y) \propto \exp(-J(u))` with the 4DVAR cost

    .. math:: J(u) = \tfrac12 \|u\|^2 + \tfrac12 \sum_t \|H(x_t(u)) - y_t\|^2_{R_t^{-1}} .

    Controls have shape ``(*batch, case, size)``: batch elements are members, samples or chains, and all are
    computed at once. The control counts the work that it does, per case: ``model_steps`` (evaluations of the
    model's step) and ``gradients`` (sweeps of tangent or adjoint over the window, one per direction).

    Args:
        problem: The problem, of one cycle.
        window: The windows, with one batch dimension ``case``.
    """

    #: Whether the prior is white, so that the cost is half the squares of control and residual.
    white: ClassVar[bool] = True

    def __init__(self, problem: Problem, window: Window) -> None:
        if window.background.isnan().any():
            raise ValueError(
                "background: missing, and the Gaussian prior of the initial state needs one; "
                "give the problem a background_std, or use an estimator that learns the prior"
            )
        check_gaussian_noise(problem.observation.noise, "the cost of a control")
        if problem.cycles > 1:
            raise ValueError("cycles: a control is of one window; split the record, or wrap the method by cycled()")
        self.problem = problem
        self.window = window
        self.cases = window.background.shape[0]
        self.states = prod(problem.shape)
        self.background_root = problem.background_root(window)
        self.error_root = problem.error_root(window.background)
        self.entries = self.background_root.size
        self.known = self.entries + len(problem.parameters)
        self.size = problem.unknowns
        self.observed = ~window.y.isnan()
        self.y = torch.where(self.observed, window.y, 0)
        self.precision = torch.where(self.observed, window.std, torch.inf).reciprocal()
        self.model_steps = window.background.new_zeros(self.cases)
        self.gradients = window.background.new_zeros(self.cases)
        self._path: Tensor | None = None

    def select(self, index: Tensor | slice) -> Self:
        """The control of some of the cases, with its own count of work."""
        return type(self)(self.problem, self.window.select(index))

    def absorb(self, part: "Control", index: Tensor | slice) -> None:
        """Adds the work that a selection has done to the count of the cases that it was selected from."""
        self.model_steps[index] += part.model_steps
        self.gradients[index] += part.gradients

    def along(self, path: Tensor) -> Self:
        """This control where its trajectories are known: their derivatives need no run of the model.

        Args:
            path: The trajectories, with shape ``(*batch, case, states, *shape)``.

        Returns:
            A control of the same values, for controls of these trajectories alone; its work counts here.
        """
        known = copy(self)
        known._path = path
        return known

    def chunks(self, members: int) -> Iterator[slice]:
        """Cuts members into chunks whose trajectories fit the memory."""
        return chunks(members, self.cases * self.problem.steps * self.states, self.window.y.device)

    def adjoint_size(self) -> float:
        """The number of entries that the adjoint of one member holds at once, measured by one step of the system."""
        kept = (self.problem.window - 1) * self.problem.system.kept(self.window.y.device) * self.states
        # States, residuals, and gradients.
        return self.cases * (kept + 3 * self.problem.window * max(self.states, prod(self.problem.observation.shape)))

    def blocks(self) -> list[slice]:
        """The slices of the control, of the initial state and of what belongs to each later state of the window."""
        size = 1 if self.error_root is None else self.error_root.size
        return [slice(0, self.entries), *(slice(start, start + size) for start in range(self.known, self.size, size))]

    def prior(self, samples: int) -> Tensor:
        """Draws from the prior over controls, with shape ``(samples, case, size)``."""
        return self.noise(samples)

    def noise(self, samples: int) -> Tensor:
        """Draws white noise, in the window's dtype and on its device, with shape ``(samples, case, size)``."""
        return white_noise(self.window.background, samples, self.cases, self.size)

    def zero(self) -> Tensor:
        """The control that is zero, with shape ``(case, size)``."""
        return self.window.background.new_zeros(self.cases, self.size)

    def initial(self, u: Tensor) -> Tensor:
        r"""The initial states :math:`x_b + B^{1/2} u_0`, with shape ``(*batch, case, *shape)``."""
        w = u[..., : self.entries].unflatten(-1, self.background_root.shape)
        return self.background_root.move(self.window.background, w)

    def parameters(self, u: Tensor) -> Tensor:
        r"""The unknown parameters :math:`\theta = f(v)`, with shape ``(*batch, case, parameters)``."""
        return self.problem.decode_parameters(self.whitened_parameters(u))

    def system(self, u: Tensor) -> System:
        """The system with the parameters of each control, at the start of the window."""
        return self.problem.system_at(self.parameters(u), self.window.start)

    def whitened_parameters(self, u: Tensor) -> Tensor:
        """The whitened unknown parameters :math:`v`, with shape ``(*batch, case, parameters)``."""
        return u[..., self.entries : self.known]

    def errors(self, u: Tensor) -> Tensor | None:
        r"""The model errors :math:`Q^{1/2} w_t`, with shape ``(*batch, case, window - 1, *shape)``; None if strong."""
        if self.error_root is None:
            return None
        w = u[..., self.known :].unflatten(-1, (self.problem.window - 1, *self.error_root.shape))
        return self.error_root.forward(w)

    def directions(self, du: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """What directions do to initial states, whitened parameters and model errors, all of which are affine in u.

        Args:
            du: The directions, with shape ``(*batch, case, size)``.

        Returns:
            The changes of :meth:`initial`, :meth:`whitened_parameters` and :meth:`errors`, with the shapes of these.
        """
        first = self.background_root.forward(du[..., : self.entries].unflatten(-1, self.background_root.shape))
        return first, du[..., self.entries : self.known], Control.errors(self, du)

    def trajectory(self, u: Tensor, states: int) -> Tensor:
        """The first ``states`` states of the window, with shape ``(*batch, case, states, *shape)``."""
        return self._rollout(u, states, self.errors(u))

    def decode(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Maps controls to trajectories and parameters.

        Model errors behind the window are not observed: under the weak constraint they are drawn from their prior.

        Args:
            u: The controls, with shape ``(*batch, case, size)``.

        Returns:
            The states of window and forecast, with shape ``(*batch, case, window + forecast, *shape)``, and the
            unknown parameters, with shape ``(*batch, case, parameters)``.
        """
        errors = self.errors(u)
        behind = self.problem.draw_errors(u, *u.shape[:-1], self.problem.forecast)
        if errors is not None and behind is not None:
            errors = torch.cat((errors, behind), dim=u.ndim - 1)
        return self._rollout(u, self.problem.steps, errors), self.parameters(u)

    def encode(self, x: Tensor, theta: Tensor) -> Tensor:
        """Maps trajectories and parameters to controls: the inverse of :meth:`decode`.

        Args:
            x: The states of the window, and maybe more, with shape ``(*batch, case, states, *shape)``.
            theta: The parameters, with shape ``(*batch, case, parameters)``.

        Returns:
            The controls, with shape ``(*batch, case, size)``; zero in directions that no state depends on, as where
            an entry of the model has no error.

        Raises:
            ValueError: If the system is stochastic: its states do not tell the noise of its steps.
        """
        axis = x.ndim - len(self.problem.shape) - 1
        u = self.background_root.inverse(x.select(axis, 0) - self.window.background)
        parts = [u.flatten(axis), self.problem.encode_parameters(theta)]
        if self.error_root is not None:
            parts.append(self._whitened_errors(self.error_root, x, theta).flatten(axis))
        return torch.cat(parts, dim=-1)

    def fill(self, u: Tensor) -> Tensor:
        """Adds white noise to controls in the directions that no state depends on, where :meth:`encode` is zero.

        There the posterior is the prior, a standard normal: what learns from encoded trajectories learns that.
        """
        batch = u.shape[:-1]
        first = unseen_noise(self.background_root, u, *batch).flatten(len(batch))
        parts = [first, u.new_zeros(*batch, len(self.problem.parameters))]
        if self.error_root is not None:
            parts.append(unseen_noise(self.error_root, u, *batch, self.problem.window - 1).flatten(len(batch)))
        return u + torch.cat(parts, dim=-1)

    def _whitened_errors(self, root: Root, x: Tensor, theta: Tensor) -> Tensor:
        r"""The model errors of trajectories, :math:`Q^{-1/2}(x_{t+1} - M(x_t; \theta))`, one time fewer than states."""
        axis, steps = x.ndim - len(self.problem.shape) - 1, self.problem.window - 1
        if not steps:
            return x.new_empty(*x.shape[:axis], 0, *root.shape)
        system = self.problem.system_at(theta.unsqueeze(-2), self.times(steps))
        forecast = system.advance(x.narrow(axis, 0, steps), 1)
        return root.inverse(x.narrow(axis, 1, steps) - forecast)

    def _rollout(self, u: Tensor, states: int, errors: Tensor | None) -> Tensor:
        """Runs the model from each control, unless the trajectory is known."""
        system = self.system(u)
        if self._path is not None:
            return system.retrace(self.initial(u), self._path, errors)
        self.model_steps += (states - 1) * self.members(u)
        return system.rollout(self.initial(u), states - 1, errors)

    def times(self, states: int) -> Tensor:
        """The times of the first states of the window, in steps, with shape ``(case, states)``."""
        start = self.window.start
        return start.unsqueeze(-1) + torch.arange(states, dtype=start.dtype, device=start.device)

    def misfit(self, u: Tensor, states: int | None = None) -> Tensor:
        r"""The observation cost :math:`J_o(u) = \frac12 \sum_t \|H(x_t(u)) - y_t\|^2_{R_t^{-1}}`.

        Args:
            u: The controls, with shape ``(*batch, case, size)``.
            states: The number of states of the window to use; all if omitted.

        Returns:
            The cost, with shape ``(*batch, case)``; infinite where the model diverged.
        """
        states = self.problem.window if states is None else states
        # A sweep has no graph.
        found = None if torch.is_grad_enabled() else self.swept(u, states, gradient=False)
        cost = 0.5 * self.mismatch(u, states).square().sum(dim=-1) if found is None else found[0]
        return cost.nan_to_num(nan=torch.inf, posinf=torch.inf)

    def mismatch(self, u: Tensor, states: int) -> Tensor:
        r"""The whitened misfits :math:`R_t^{-1/2}(H(x_t(u)) - y_t)` of the first ``states`` states, zero where missing.

        Args:
            u: The controls, with shape ``(*batch, case, size)``.
            states: The number of states of the window to use.

        Returns:
            The misfits, with shape ``(*batch, case, states * observations)``.
        """
        x = self.trajectory(u, states)
        operator = self.problem.observation.operator
        h = with_gradient(operator(x), x, f"operator: {type(operator).__name__}")
        return ((h - self.y[:, :states]) * self.precision[:, :states]).flatten(u.ndim - 1)

    def swept(self, u: Tensor, states: int, gradient: bool) -> tuple[Tensor, Tensor] | None:
        """The observation cost and its gradient, empty if unwanted, by the system's sweep; None if it has none.

        Of controls ``(*batch, case, size)`` it has shape ``(*batch, case)``; not finite where the model diverged.
        """
        return misfit(self, u, states, gradient) if self._path is None and self.white else None

    def residual(self, u: Tensor, states: int) -> Tensor:
        """What the cost is the sum of squares of, beside the white prior: :meth:`mismatch`, of the same shape."""
        return self.mismatch(u, states)

    def cost(self, u: Tensor, states: int | None = None) -> Tensor:
        """The 4DVAR cost :math:`J(u)`, with shape ``(*batch, case)``; infinite where the model diverged."""
        return 0.5 * u.square().sum(dim=-1) + self.misfit(u, states)

    def log_prob(self, u: Tensor) -> Tensor:
        r"""The log-density of the joint, :math:`\log N(u; 0, I) + \log p(y | x(u))`.

        Args:
            u: The controls, with shape ``(*batch, case, size)``.

        Returns:
            The log-density, with shape ``(*batch, case)``; minus infinity where the model diverged.
        """
        return -self.cost(u) - self.log_normalizer()

    def log_normalizer(self) -> Tensor:
        r"""The normaliser of the cost, :math:`-\log p(u, y) - J(u)`, with shape ``(case,)``."""
        terms = torch.where(self.observed, self.window.std.log() + 0.5 * log(2 * pi), 0)
        return terms.flatten(1).sum(dim=-1) + 0.5 * self.size * log(2 * pi)

    def cost_and_gradient(self, u: Tensor, states: int | None = None) -> tuple[Tensor, Tensor]:
        """The cost and its gradient, with shapes ``(*batch, case)`` and ``(*batch, case, size)``.

        Where the model diverged the cost is infinite, and the gradient NaN. Members are taken a chunk at a time, since
        the adjoint keeps all that the model computes.

        Args:
            u: The controls, with shape ``(*batch, case, size)``.
            states: The number of states of the window to use; all if omitted.
        """
        members = u.detach().reshape(-1, *u.shape[-2:])
        size, device = self.cases * self.problem.window * self.states, u.device
        pieces = chunks(len(members), size, device, self.adjoint_size())
        window = self.problem.window if states is None else states
        parts = [descent(self, members[piece], window) for piece in pieces]
        cost, gradient = (torch.cat(part) for part in zip(*parts, strict=True))
        return cost.reshape(u.shape[:-1]), gradient.reshape(u.shape)

    def linearize(self, u: Tensor, states: int | None = None, known: Linearization | None = None) -> LinearModel:
        """The Gauss–Newton model of the cost: tangents, adjoints and matrices, made as they are asked for.

        Args:
            u: The controls, with shape ``(*batch, case, size)``.
            states: The number of states of the window to use; all if omitted.
            known: What is known of it already.
        """
        return LinearModel(self, u, self.problem.window if states is None else states, known)

    def quadratic(self, u: Tensor, states: int) -> Linearization:
        """Cost, gradient and Gauss–Newton Hessian as matrices; see :meth:`LinearModel.quadratic`, which cuts cases."""
        return matrices(self, u, states)

    @property
    def is_chain(self) -> bool:
        """Whether it is a Markov chain of states: the weak constraint, with an error in every direction."""
        root = self.error_root
        return root is not None and root.full and root.size == self.entries == self.states

    @property
    def is_large(self) -> bool:
        """Whether its Hessian is too large for matrices; under the weak constraint, each of its blocks in time."""
        return (self.states if self.is_chain else self.size) > LARGE

    def hessian(self, u: Tensor, states: int) -> Precision:
        """The Gauss–Newton Hessian of a Markov chain, block by block, of cases and batch in one dimension.

        Args:
            u: Where, with shape ``(*batch, case, size)``.
            states: The number of states of the window that count.
        """
        chain, seen = linear_chain(self, u, states)
        return ChainPrecision(chain.onward, chain.constants, seen, seen.new_zeros(len(seen)))

    def members(self, u: Tensor) -> int:
        """The number of controls per case."""
        return prod(u.shape[:-2])
