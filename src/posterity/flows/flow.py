"""Abstract normalizing flows."""

import abc
from collections.abc import Sequence
from math import log, pi

from torch import Tensor, nn


class ConditionalFlow(nn.Module, abc.ABC):
    """Abstract conditional density over fields or vectors, which can be evaluated and drawn from."""

    @abc.abstractmethod
    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """The log-density, in nats.

        Args:
            z: The values, with shape ``(case, *shape)``.
            context: The contexts, with shape ``(case, *context_shape)``.

        Returns:
            The log-density, with shape ``(case,)``.
        """

    def standardize(self, z: Tensor, context: Tensor) -> None:
        """Initialises parameters from the statistics of training draws; by default does nothing.

        Called once before the first step. What it sets are parameters, which copies, processes and files share.

        Args:
            z: Draws, with shape ``(case, *shape)``.
            context: The contexts, with shape ``(case, *context_shape)``.
        """
        return

    @abc.abstractmethod
    def draw(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """One draw for each case, with its log-density; differentiable in the weights.

        Args:
            context: The contexts, with shape ``(case, *context_shape)``.

        Returns:
            The draws, with shape ``(case, *shape)``, and their log-densities, with shape ``(case,)``.
        """


class Flow(abc.ABC):
    """Abstract plan of a normalizing flow: options only; :meth:`build` makes the module."""

    @abc.abstractmethod
    def build(self, shape: Sequence[int], context: Sequence[int]) -> ConditionalFlow:
        """Makes the module.

        Args:
            shape: The shape of a value: ``(channel, *grid)`` of a periodic grid, or ``(entries,)``.
            context: The shape of the context: ``(channel, *grid)`` with the same grid, or ``(entries,)``.

        Raises:
            ValueError: If the flow is not defined over the shape.
        """


def log_normal(z: Tensor) -> Tensor:
    """The log-density of standard normal fields or vectors, ``(case, *shape)``, in nats, with shape ``(case,)``."""
    return -0.5 * (z.flatten(1).square() + log(2 * pi)).sum(dim=-1)
