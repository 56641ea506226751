"""What a normalising flow is asked to do."""

import abc
from collections.abc import Sequence
from math import log, pi

from torch import Tensor, nn


class ConditionalFlow(nn.Module, abc.ABC):
    """A density over fields or vectors, given others, that can be evaluated and drawn from."""

    @abc.abstractmethod
    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """The log-density, in nats.

        Args:
            z: Where, with shape ``(case, *shape)``.
            context: What is given, with shape ``(case, *context_shape)``.

        Returns:
            The log-density, with shape ``(case,)``.
        """

    def standardize(self, z: Tensor, context: Tensor) -> None:
        """Takes from training draws what the flow starts from, before its first step; by default nothing.

        It is called once, so that no step has to ask whether it is the first: what it sets are parameters, which
        copies, processes and files share like any other.

        Args:
            z: Draws, with shape ``(case, *shape)``.
            context: What is given, with shape ``(case, *context_shape)``.
        """
        return

    @abc.abstractmethod
    def draw(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """One draw for each case, with its log-density; differentiable in the weights.

        Args:
            context: What is given, with shape ``(case, *context_shape)``.

        Returns:
            The draws, with shape ``(case, *shape)``, and their log-densities, with shape ``(case,)``.
        """


class Flow(abc.ABC):
    """The plan of a normalising flow: options only; :meth:`build` makes the module."""

    @abc.abstractmethod
    def build(self, shape: Sequence[int], context: Sequence[int]) -> ConditionalFlow:
        """Makes the module.

        Args:
            shape: The shape of what it is a density of: ``(channel, *grid)`` of a periodic grid, or ``(entries,)``.
            context: The shape of what is given: ``(channel, *grid)`` with the same grid, or ``(entries,)``.

        Raises:
            ValueError: If there is no such flow over the shape.
        """


def log_normal(z: Tensor) -> Tensor:
    """The log-density of standard normal fields or vectors, ``(case, *shape)``, in nats, with shape ``(case,)``."""
    return -0.5 * (z.flatten(1).square() + log(2 * pi)).sum(dim=-1)
