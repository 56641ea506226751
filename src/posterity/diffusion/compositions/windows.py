"""Windows of a trajectory, and what is observed in them; see :mod:`posterity.diffusion.compositions`."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..guidance import Likelihood


class Trajectory(NamedTuple):
    """The places of a trajectory in a vector: its states one after another, and behind them shared parameters.

    Args:
        states: The number of states.
        size: The number of entries of a state.
        parameters: The number of parameters, one of each for all states.
    """

    states: int
    size: int
    parameters: int = 0

    @property
    def entries(self) -> int:
        """The number of entries of a vector."""
        return self.states * self.size + self.parameters

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Takes vectors apart, with shape ``(*batch, entries)``.

        Returns:
            The states, with shape ``(*batch, states, size)``, and the parameters, with shape ``(*batch, parameters)``;
            both are views.
        """
        states, parameters = x.split((self.states * self.size, self.parameters), dim=-1)
        return states.unflatten(-1, (self.states, self.size)), parameters

    def join(self, states: Tensor, parameters: Tensor) -> Tensor:
        """The inverse of :meth:`split`."""
        return torch.cat((states.flatten(-2), parameters), dim=-1)


class Windows(NamedTuple):
    r"""Windows :math:`x_w = R_w x` of one length in a trajectory, and the shares :math:`a_w` of what is found in them.

    Args:
        start: The first state of each, with shape ``(windows,)``.
        share: The share of each in the mean of each of its states, with shape ``(windows, length)``.
        parameters: The share of each in the mean of the parameters, with shape ``(windows, 1, 1)``, or of each in each
            row and parameter, with shape ``(windows, rows, parameters)``.
    """

    start: Tensor
    share: Tensor
    parameters: Tensor

    @property
    def length(self) -> int:
        """The number of states of a window."""
        return self.share.shape[1]

    @property
    def is_even(self) -> bool:
        """Whether all entries of a window have one share, so that shares and symmetric products commute."""
        return self.parameters[0].numel() == 1 and bool((self.share == self.parameters.squeeze(-1)).all())

    def to(self, like: Tensor) -> "Windows":
        """The same in the dtype and on the device of a tensor."""
        return Windows(self.start.to(like.device), self.share.to(like), self.parameters.to(like))

    def chunks(self, number: int) -> list["Windows"]:
        """The same, so many windows at a time."""
        return [Windows(*parts) for parts in zip(*(part.split(number) for part in self), strict=True) if len(parts[0])]

    def cut(self, whole: Trajectory, x: Tensor) -> Tensor:
        """Cuts windows out of vectors: ``(rows, entries)`` to ``(windows, rows, entries)``."""
        states, parameters = whole.split(x)
        cut = states[:, self.places()].transpose(0, 1)
        return Trajectory.join(whole, cut, parameters.expand(len(self.start), *parameters.shape))

    def weigh(self, whole: Trajectory, found: Tensor) -> Tensor:
        """Gives what is found in windows their shares; the shape stays."""
        states, parameters = whole._replace(states=self.length).split(found)
        return whole.join(states * self.share[:, None, :, None], parameters * self.parameters)

    def put(self, whole: Trajectory, total: Tensor, found: Tensor) -> None:
        """Adds windows to vectors in place, at the places that they were cut from."""
        states, parameters = whole._replace(states=self.length).split(found)
        into, shared = whole.split(total)
        into.index_add_(1, self.places().flatten(), states.transpose(0, 1).flatten(1, 2))
        shared += parameters.sum(dim=0)

    def places(self) -> Tensor:
        """The states that each window holds, with shape ``(windows, length)``."""
        return self.start.unsqueeze(1) + torch.arange(self.length, device=self.start.device)


class LocalLikelihood(NamedTuple):
    r"""Observations of each state by itself, :math:`y_i = H(x_i) + \varepsilon_i, \varepsilon_i \sim N(0, R_i)`.

    A background is an observation of the first state: entries of all states, that are there in the first only.

    Args:
        operator: The operator :math:`H`, from ``(*batch, size)`` to ``(*batch, observations)``.
        y: The observations, with shape ``(rows, states, observations)``; any number where missing.
        precision: :math:`R^{-1/2}`, with the same shape; zero where missing.
    """

    operator: Callable[[Tensor], Tensor]
    y: Tensor
    precision: Tensor

    def whole(self, trajectory: Trajectory) -> Likelihood:
        """The likelihood of trajectories, ``(rows, entries)``."""
        return self._of(trajectory, self.y, self.precision)

    def within(self, windows: Windows, trajectory: Trajectory) -> Likelihood:
        """The likelihood of what windows hold, ``(windows, rows, entries)``."""
        places = windows.places()
        parts = (part[:, places].transpose(0, 1) for part in (self.y, self.precision))
        return self._of(trajectory._replace(states=windows.length), *parts)

    def _of(self, trajectory: Trajectory, y: Tensor, precision: Tensor) -> Likelihood:
        """The likelihood of vectors, given what is observed of each of their states."""
        return Likelihood(
            lambda z: self.operator(trajectory.split(z)[0]).flatten(-2), y.flatten(-2), precision.flatten(-2)
        )
