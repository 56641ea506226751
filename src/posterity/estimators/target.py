"""Targets: the part of a trajectory that an estimator learns."""

import abc
from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from ..nn import Layout
from ..problems import Control, Ensemble, Problem, Twin, Window, decode_ensemble, replace_failed


class Target(abc.ABC):
    """Abstract target: a part of the trajectory (and the unknown parameters) from which the rest follows.

    It is a field ``(channel, *grid)``, or a vector ``(entries,)`` where there are unknown parameters beside it. Its
    layout says how networks see such a vector: as a field with a constant channel for each parameter.
    """

    #: Whether the values are standard normal a priori, so that they need not be standardised.
    whitened = False

    @abc.abstractmethod
    def shape(self, problem: Problem) -> tuple[int, ...]:
        """The shape of a value.

        Raises:
            ValueError: If the problem has no such part.
        """

    def layout(self, problem: Problem) -> Layout:
        """How a value stands on the grid that networks see; as it is, unless overridden."""
        return Layout(self.shape(problem))

    @abc.abstractmethod
    def extract(self, problem: Problem, twin: Twin) -> Tensor:
        """Extracts the values from draws of the joint, with shape ``(case, *shape)``."""

    @abc.abstractmethod
    def ensemble(
        self, problem: Problem, window: Window, values: Tensor, info: Mapping[str, Tensor], log_q: Tensor | None
    ) -> Ensemble:
        """Turns draws of the values into states and parameters.

        Args:
            problem: The problem.
            window: The windows, with one batch dimension ``case``.
            values: The draws, with shape ``(samples, case, *shape)``.
            info: Diagnostics of each case.
            log_q: The log-density of each draw, with shape ``(samples, case)``; None if unknown.
        """


class ControlTarget(Target):
    r"""The control :math:`u` of the window, standard normal a priori: initial state, parameters, model errors.

    Its channels are those of the initial state and of each model error, with one of each parameter beside them.
    Trajectories follow from the model. Targets :math:`p(x_{0:T+F}, \theta | y, x_b)`.
    """

    whitened = True

    def shape(self, problem: Problem) -> tuple[int, ...]:
        """The shape of the control."""
        return self.layout(problem).shape

    def layout(self, problem: Problem) -> Layout:
        """Initial state and model errors are fields, the parameters stand between them."""
        if not problem.has_background:
            raise ValueError("target: a control needs a background, and the problem has none; use 'state'")
        parts, known = problem.control_shapes(), len(problem.parameters)
        entries = sum(map(prod, parts))
        if len({part[1:] for part in parts}) > 1:
            return Layout((entries + known,))
        return Layout.beside(entries, parts[0][1:], known, prod(parts[0]))

    def extract(self, problem: Problem, twin: Twin) -> Tensor:
        """Encodes trajectories and parameters; white noise where none depends on the control."""
        control = Control(problem, twin.window)
        return control.fill(control.encode(twin.x, twin.theta)).reshape(-1, *self.shape(problem))

    def ensemble(
        self, problem: Problem, window: Window, values: Tensor, info: Mapping[str, Tensor], log_q: Tensor | None
    ) -> Ensemble:
        """Runs the model from each control."""
        return decode_ensemble(Control(problem, window), values.flatten(2), info, log_q)


class StateTarget(Target):
    r"""The last ``states`` states of the window, and the unknown parameters.

    One of them is the target of filtering, :math:`p(x_T, \theta | y)`; all are the trajectory that smoothers and
    score-based assimilation draw. Channels of all times are stacked, time first. The forecast follows from the model.

    Args:
        states: The number of states; None for all of the window.
    """

    def __init__(self, states: int | None = 1) -> None:
        if states is not None and states < 1:
            raise ValueError(f"states: at least one is needed, not {states}")
        self.states = states

    def first(self, problem: Problem) -> int:
        """The first window time that is learned."""
        if self.states is not None and self.states > problem.window:
            raise ValueError(f"states: {self.states}, but the window has {problem.window}; ask for fewer")
        return 0 if self.states is None else problem.window - self.states

    def shape(self, problem: Problem) -> tuple[int, ...]:
        """The shape of the states together, or the number of their entries and of parameters."""
        return self.layout(problem).shape

    def layout(self, problem: Problem) -> Layout:
        """All states are fields, the parameters stand behind them."""
        entries = (problem.window - self.first(problem)) * prod(problem.shape)
        return Layout.beside(entries, problem.shape[1:], len(problem.parameters), entries)

    def extract(self, problem: Problem, twin: Twin) -> Tensor:
        """The states, and whitened parameters."""
        x = twin.x[:, self.first(problem) : problem.window]
        if problem.parameters:
            return torch.cat((x.flatten(1), problem.encode_parameters(twin.theta)), dim=-1)
        return x.flatten(1, 2)

    @torch.no_grad()
    def ensemble(
        self, problem: Problem, window: Window, values: Tensor, info: Mapping[str, Tensor], log_q: Tensor | None
    ) -> Ensemble:
        """Runs the model for the forecast; draws that are not finite are replaced by others of their case."""
        flat, known = values.flatten(2), len(problem.parameters)
        flat, v = flat[..., : flat.shape[-1] - known], flat[..., flat.shape[-1] - known :]
        theta = problem.decode_parameters(v)
        x = flat.unflatten(-1, (-1, *problem.shape))
        if problem.forecast:
            error = problem.draw_errors(x, *x.shape[:2], problem.forecast)
            later = problem.system_at(theta).rollout(x[:, :, -1], problem.forecast, error)
            x = torch.cat((x, later[:, :, 1:]), dim=2)
        x, theta, log_q, failed = replace_failed(x, theta, log_q)
        return Ensemble(x, theta, range(self.first(problem), problem.steps), {**info, "failed": failed}, log_q)
