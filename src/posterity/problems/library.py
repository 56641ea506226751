"""Libraries of climatological states, drawn from instead of a spin-up for every ensemble."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ..systems import System
from ..tensors import Constant


@dataclass(frozen=True)
class StateLibrary:
    r"""Library of states at the start of a system's ensemble, :math:`x_n \sim p(x_0)`, after their spin-up.

    A draw is one of them, moved by a random element of the system's symmetries, :math:`x = g(x_n)`: what a symmetry
    maps to has the same climatology. As many neighbouring draws as there are states come from different states.

    Args:
        states: The states, with shape ``(n, *shape)``.
        known: The states that covariances of the climatology are estimated from; those above if omitted. Splits that
            draw from others must have the same covariances.
    """

    states: Constant
    known: Constant | None = None

    def reference(self) -> "StateLibrary":
        """The library of the states that covariances are estimated from."""
        return self if self.known is None else StateLibrary(self.known)

    def draw(self, system: System, batch: Sequence[int], like: Tensor) -> Tensor:
        """Draws initial states.

        Args:
            system: The system that the states are of.
            batch: The batch shape.
            like: A tensor whose dtype and device they have.

        Returns:
            The states, with shape ``(*batch, *shape)``.
        """
        states, total = self.states.like(like), prod(batch)
        rounds = -(-total // len(states))
        order = torch.cat([torch.randperm(len(states), device=like.device) for _ in range(rounds)])[:total]
        return system.shuffled(states[order]).reshape(*batch, *states.shape[1:])
