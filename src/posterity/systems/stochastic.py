"""Stochastic systems: each step takes white noise, which is drawn or given."""

import abc
from typing import ClassVar

import torch
from torch import Tensor

from ..tensors import white_noise
from .system import System, with_gradient


class Stochastic(System):
    r"""Abstract stochastic system, :math:`x_{t+1} = M(x_t, \xi_t; \theta)` with white noise :math:`\xi_t \sim N(0, I)`.

    Subclasses are frozen dataclasses as all systems, with :meth:`transition` and :attr:`noise_shape` instead of
    ``step``: a step draws its noise, one for each step and batch element, and a transition is given it. So noise is
    part of what is unknown, white a priori like all of the control, and no method needs the density of
    :math:`x_{t+1}` given :math:`x_t`, which need not exist. Noise that is added to the state behind a step that has
    none is ``model_error``, with a density: then use that.
    """

    stochastic: ClassVar[bool] = True

    @property
    @abc.abstractmethod
    def noise_shape(self) -> tuple[int, ...]:
        """The event shape of the noise of one step."""

    @abc.abstractmethod
    def transition(self, x: Tensor, noise: Tensor) -> Tensor:
        """Advances states by one ``dt`` with given noise.

        Args:
            x: States, with shape ``(*batch, *shape)``.
            noise: White noise, with shape ``(*batch, *noise_shape)``.

        Returns:
            The states one ``dt`` later, with shape ``(*batch, *shape)``, differentiable in both.
        """

    def step(self, x: Tensor) -> Tensor:
        """Advances states of shape ``(*batch, *shape)`` by ``dt``, with noise that it draws."""
        batch = x.shape[: x.ndim - len(self.shape)]
        return self.transition(x, white_noise(x, *batch, *self.noise_shape))

    def rollout(self, x0: Tensor, steps: int, error: Tensor | None = None) -> Tensor:
        r"""The trajectory :math:`x_{t+1} = M(x_t, \xi_t)`.

        Args:
            x0: Initial states, with shape ``(*batch, *shape)``.
            steps: The number of steps :math:`L`.
            error: The noise :math:`\xi`, with shape ``(*batch, steps, *noise_shape)``; drawn if omitted, cut if longer.

        Returns:
            The states :math:`x_0, …, x_L`, with shape ``(*batch, steps + 1, *shape)``.
        """
        batch = x0.ndim - len(self.shape)
        noise = white_noise(x0, *x0.shape[:batch], steps, *self.noise_shape) if error is None else error
        states, what = [x0], f"system: the transition of {type(self).__name__}"
        for given in noise.unbind(dim=batch)[:steps]:
            states.append(with_gradient(self.transition(states[-1], given), states[-1], what))
        return torch.stack(states, dim=batch)
