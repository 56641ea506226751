"""Multilayer perceptrons."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from .layers import check_hidden
from .network import Network


class MLP(Network):
    r"""A multilayer perceptron: every entry of the output sees every entry of the input and of the condition,

    .. math:: h_0 = \phi(W_0 (x, c)), \qquad h_{k+1} = \phi(W_{k+1} h_k) \; [+ \, h_k], \qquad f(x, c) = W_K h_{K-1} ,

    with :math:`\phi` the SiLU. Layers between equal widths are residual. Fields are flattened, so it is not equivariant
    to translations and its parameters grow with the grid.

    Args:
        hidden: The widths of the hidden layers.
        layer_norm: Whether to normalise the inputs of each hidden layer but the first.
    """

    def __init__(self, hidden: Sequence[int] = (256, 256), layer_norm: bool = False) -> None:
        self.hidden = check_hidden(hidden)
        self.layer_norm = layer_norm

    def build(self, inputs: int, outputs: int, grid: Sequence[int], condition: int = 0) -> nn.Module:
        """Makes the module, for any grid."""
        sites = prod(grid)
        layers: list[nn.Module] = [nn.Sequential(nn.Linear(inputs * sites + condition, self.hidden[0]), nn.SiLU())]
        for before, after in pairwise(self.hidden):
            norm = nn.LayerNorm(before) if self.layer_norm else nn.Identity()
            layer = nn.Sequential(norm, nn.Linear(before, after), nn.SiLU())
            layers.append(ResidualLayer(layer) if before == after else layer)
        layers.append(nn.Linear(self.hidden[-1], outputs * sites))
        return MLPModule(nn.Sequential(*layers), (outputs, *grid))


class ResidualLayer(nn.Module):
    r"""A residual layer, :math:`x \mapsto x + f(x)`.

    Args:
        layer: The layer :math:`f`.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layer."""
        return x + self.layer(x)


class MLPModule(nn.Module):
    """The module of :class:`MLP`, which flattens fields and a condition into one vector, and returns a field.

    Args:
        network: The perceptron.
        shape: The shape of the output.
    """

    def __init__(self, network: nn.Module, shape: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.shape = tuple(shape)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """From fields of shape ``(case, inputs, *grid)`` to fields of shape ``(case, outputs, *grid)``."""
        flat = x.flatten(1)
        if condition is not None:
            flat = torch.cat((flat, condition.expand(len(flat), -1)), dim=-1)
        return self.network(flat).unflatten(-1, self.shape)
