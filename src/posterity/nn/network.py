"""Abstract networks over fields."""

import abc
from collections.abc import Sequence

from torch import nn


class Network(abc.ABC):
    """Abstract plan of a network that maps fields to fields of the same grid.

    A plan holds options only (width, depth); :meth:`build` makes the module once the numbers of channels are known.
    """

    @abc.abstractmethod
    def build(self, inputs: int, outputs: int, grid: Sequence[int], condition: int = 0) -> nn.Module:
        """Makes the module.

        Args:
            inputs: The number of channels of the input.
            outputs: The number of channels of the output.
            grid: The shape of the grid, which is periodic; ``()`` for vectors.
            condition: The size of a conditioning vector beside the field; 0 for none.

        Returns:
            A module from ``x`` of shape ``(case, inputs, *grid)`` and, if ``condition`` is not 0, a vector of shape
            ``(case, condition)``, or ``(1, condition)`` for all, to a tensor of shape ``(case, outputs, *grid)``.

        Raises:
            ValueError: If the network is not defined on the grid.
        """
