"""Targets: the part of a trajectory that an estimator learns."""

import abc
from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from ..errors import check_part
from ..nn import Layout
from ..problems import Control, Ensemble, Problem, Twin, Window, decode_ensemble, replace_failed
from ..problems.covariances import Correlation, Root, Solenoidal
from ..problems.covariances.root import unseen_noise
from ..problems.covariances.scaling import root_of

#: The share of states that rounding may take.
ROUNDING = 1e-4


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

    def checked(self, problem: Problem, twin: Twin) -> Twin:
        """Draws of the joint, once they are known to have such values; they have, unless overridden.

        Args:
            problem: The problem.
            twin: The draws, with one batch dimension.

        Raises:
            ValueError: If they have not.
        """
        return twin

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
        if problem.system.stochastic:
            raise ValueError(
                f"target: draws of the joint do not tell the noise that {type(problem.system).__name__} has drawn, and "
                "with it the control: the density of its next state given this one is known to nobody; learn states "
                "(the target 'state' of npe, nse, fmpe and nre)"
            )
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

    With a correlation they are learned as the whitened vectors :math:`w_t` that it makes states of,

    .. math:: x_t = D L w_t, \qquad C = L L^T, \qquad D = \mathrm{diag}(\sigma) ,

    with the standard deviations of a climatological correlation, and one for others. That is for states which have
    something in common, such as that their divergence is zero: they fill a subspace, and have no density over all of
    their entries, so that :math:`\log q` grows without bound as a flow flattens. Over :math:`w` they have one, with
    white noise in the directions that no state depends on, and all draws have what states have in common.

    Args:
        states: The number of states; None for all of the window.
        correlation: The correlation; None for the states themselves.
    """

    def __init__(self, states: int | None = 1, correlation: Correlation | None = None) -> None:
        if states is not None and states < 1:
            raise ValueError(f"states: at least one is needed, not {states}")
        if correlation is not None:
            check_part("correlation", correlation, Correlation, Solenoidal)
        self.states, self.correlation = states, correlation

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
        shape = self._event(problem)
        entries = (problem.window - self.first(problem)) * prod(shape)
        return Layout.beside(entries, shape[1:], len(problem.parameters), entries)

    @torch.no_grad()
    def checked(self, problem: Problem, twin: Twin) -> Twin:
        """The draws; raises if the correlation leaves out a part of their states, beyond rounding."""
        if (root := self._root(problem, twin.x)) is not None:
            lost = float((twin.x - root.forward(root.inverse(twin.x))).norm() / twin.x.norm())
            if lost > ROUNDING:
                raise ValueError(
                    f"target.correlation: {type(self.correlation).__name__} leaves out {lost:.2g} of the norm of the "
                    "system's states, which draws would lack; choose one that makes all of them, such as one of the "
                    "climatology"
                )
        return twin

    def extract(self, problem: Problem, twin: Twin) -> Tensor:
        """The states, and whitened parameters."""
        x = twin.x[:, self.first(problem) : problem.window]
        if (root := self._root(problem, x)) is not None:
            x = root.inverse(x) + unseen_noise(root, x, *x.shape[:2])
        if problem.parameters:
            return torch.cat((x.flatten(1), problem.encode_parameters(twin.theta)), dim=-1)
        return x.flatten(1, 2)

    def trajectory(self, problem: Problem, entries: Tensor) -> Tensor:
        """The states of values without the parameters.

        Args:
            problem: The problem.
            entries: The entries of the values, with shape ``(*batch, entries)``.

        Returns:
            The states, with shape ``(*batch, time, *state)``.
        """
        x = entries.unflatten(-1, (-1, *self._event(problem)))
        return x if (root := self._root(problem, x)) is None else root.forward(x)

    @torch.no_grad()
    def ensemble(
        self, problem: Problem, window: Window, values: Tensor, info: Mapping[str, Tensor], log_q: Tensor | None
    ) -> Ensemble:
        """Runs the model for the forecast; draws that are not finite are replaced by others of their case."""
        flat, known = values.flatten(2), len(problem.parameters)
        flat, v = flat[..., : flat.shape[-1] - known], flat[..., flat.shape[-1] - known :]
        theta = problem.decode_parameters(v)
        x = self.trajectory(problem, flat)
        if problem.forecast:
            error = problem.draw_errors(x, *x.shape[:2], problem.forecast)
            system = problem.system_at(theta, window.start + (problem.window - 1))
            later = system.rollout(x[:, :, -1], problem.forecast, error)
            x = torch.cat((x, later[:, :, 1:]), dim=2)
        x, theta, log_q, failed = replace_failed(x, theta, log_q)
        return Ensemble(x, theta, range(self.first(problem), problem.steps), {**info, "failed": failed}, log_q)

    def _event(self, problem: Problem) -> tuple[int, ...]:
        """The shape of one state, as it is learned."""
        return problem.shape if self.correlation is None else self.correlation.control(problem.shape)

    def _root(self, problem: Problem, like: Tensor) -> Root | None:
        """The root that makes states of what is learned; None for the states themselves."""
        if self.correlation is None:
            return None
        std = self.correlation.std(problem, like) if self.correlation.has_std else like.new_ones(problem.shape)
        return root_of(problem, self.correlation, std)
